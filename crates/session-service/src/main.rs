//! Starts session-service: settings, database, broker, the queue of commands, and the end.

use std::process::ExitCode;
use std::sync::Arc;

use platform_messaging::Broker;
use platform_messaging::topology::Queue;
use platform_runtime::clock::{SystemClock, SystemIds};
use platform_runtime::lifecycle;
use platform_runtime::settings::{BrokerSettings, DatabaseSettings, EncryptionSettings};
use platform_sealing::EncryptionKeys;
use platform_storage::{Database, secret};
use secrecy::ExposeSecret;
use session_service::commands;
use tokio_util::task::TaskTracker;

/// Commands that the broker hands over before the first of them is settled. Commands of one session wait for each other at its row
/// lock, so more than there are database connections would only wait.
const PREFETCH: u16 = 32;

fn main() -> ExitCode {
    lifecycle::run("session-service", start)
}

async fn start(
    service: lifecycle::Context<(DatabaseSettings, BrokerSettings, EncryptionSettings)>,
) -> anyhow::Result<()> {
    let (database_settings, broker_settings, encryption) = &service.settings;
    let keys = EncryptionKeys::new(&encryption.key, &encryption.previous)?;
    let database =
        Database::connect(database_settings.url.expose_secret(), database_settings.pool_size)?;
    let broker = Broker::connect(&broker_settings.url, "session-service").await?;
    broker.declare_topology().await?;
    let context = commands::Context {
        database: database.clone(),
        broker: broker.clone(),
        clock: Arc::new(SystemClock),
        ids: Arc::new(SystemIds),
        keys: Arc::new(keys),
        publications: TaskTracker::new(),
    };
    add_checks(&service, database, broker.clone());
    service.serve_health()?;
    secret::check_keys(&context.database, &context.keys.ids(), context.clock.now()).await?;
    let concurrency = service.settings.0.pool_size.max(1);
    let shutdown = service.shutdown.token();
    service.tasks.spawn("session commands", async move {
        let publications = context.publications.clone();
        let handler = move |incoming| commands::take(context.clone(), incoming);
        broker.consume(Queue::SESSION_COMMANDS, PREFETCH, concurrency, shutdown, handler).await;
        // What was committed is announced before the process ends.
        publications.close();
        publications.wait().await;
    });
    Ok(())
}

fn add_checks<S>(service: &lifecycle::Context<S>, database: Database, broker: Broker) {
    service.health.add("database", move || {
        let database = database.clone();
        async move { database.ping().await.map_err(|failure| failure.to_string()) }
    });
    service.health.add("broker", move || {
        let broker = broker.clone();
        async move { broker.check().map_err(|failure| failure.to_string()) }
    });
}
