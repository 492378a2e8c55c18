//! The process: settings → telemetry → dependencies → server → drain.

use std::process::ExitCode;
use std::sync::Arc;

use actix_web::web::Data;
use anyhow::Context as _;
use api_gateway::caller::Keys;
use api_gateway::commands::Commands;
use api_gateway::figures::Figures;
use api_gateway::harnesses::Harnesses;
use api_gateway::models::Models;
use api_gateway::open_files;
use api_gateway::platform::Platform;
use api_gateway::sealer::Sealer;
use api_gateway::server;
use api_gateway::stream::Hub;
use platform_core::clock::{Clock, IdSource};
use platform_messaging::Broker;
use platform_runtime::clock::{SystemClock, SystemIds};
use platform_runtime::lifecycle::{self, Context};
use platform_runtime::settings::{
    BrokerSettings, DatabaseSettings, EncryptionSettings, GatewaySettings, KeySettings,
    SandboxSettings,
};
use platform_sealing::EncryptionKeys;
use platform_storage::{Database, secret};
use secrecy::ExposeSecret;

const SERVICE: &str = "api-gateway";

type Settings = (
    (DatabaseSettings, BrokerSettings),
    ((GatewaySettings, SandboxSettings), (KeySettings, EncryptionSettings)),
);

fn main() -> ExitCode {
    lifecycle::run(SERVICE, start)
}

async fn start(context: Context<Settings>) -> anyhow::Result<()> {
    let ((database, broker), ((gateway, sandbox), (keys, encryption))) = context.settings;
    open_files::raise_limit();
    let encryption = EncryptionKeys::new(&encryption.key, &encryption.previous)?;
    let database = Database::connect(database.url.expose_secret(), database.pool_size)?;
    secret::check_keys(&database, &encryption.ids(), SystemClock.now()).await?;
    let broker = Broker::connect(&broker.url, SERVICE).await?;
    broker.declare_topology().await?;
    let harnesses = Harnesses::load(&sandbox.harness_dir)
        .with_context(|| format!("the harnesses in {}", sandbox.harness_dir.display()))?;

    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ids: Arc<dyn IdSource> = Arc::new(SystemIds);
    let figures = Figures::default();
    figures.register(&context.metrics);
    check_database(&context.health, &database);
    check_broker(&context.health, &broker);
    let hub = Hub::new(&broker);
    context.tasks.spawn("hub", hub.clone().run(context.shutdown.token()));

    let platform = Data::new(Platform {
        commands: Commands::new(broker),
        hub,
        keys: Keys::new(database.clone(), clock.clone(), ids.clone(), &keys.master),
        harnesses,
        models: Models::new(gateway)?,
        sealer: Sealer::new(encryption),
        figures,
        database,
        clock,
        ids,
        shutdown: context.shutdown.token(),
    });
    let (server, addresses) =
        server::server(platform, context.http, context.health.clone(), context.metrics.clone())?;
    for address in addresses {
        tracing::info!(%address, "serving the API");
    }
    context.tasks.spawn("HTTP server", server);
    Ok(())
}

fn check_database(health: &platform_runtime::health::Health, database: &Database) {
    let database = database.clone();
    health.add("database", move || {
        let database = database.clone();
        async move { database.ping().await.map_err(|failure| failure.to_string()) }
    });
}

fn check_broker(health: &platform_runtime::health::Health, broker: &Broker) {
    let broker = broker.clone();
    health.add("broker", move || {
        let checked = broker.check().map_err(|failure| failure.to_string());
        std::future::ready(checked)
    });
}
