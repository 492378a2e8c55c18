//! vault-proxy: the only way out of a sandbox.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use platform_core::clock::IdSource;
use platform_core::failure::Failure;
use platform_messaging::Broker;
use platform_messaging::topology::Queue;
use platform_runtime::clock::SystemIds;
use platform_runtime::lifecycle::{Context, run};
use platform_runtime::settings::{
    BrokerSettings, DatabaseSettings, GatewaySettings, SandboxSettings,
};
use platform_storage::Database;
use secrecy::ExposeSecret;
use vault_proxy::commands::{carry_out, reopen_all};
use vault_proxy::doors::Doors;
use vault_proxy::forward::Gateway;
use vault_proxy::replicas::Replica;

type Settings = ((DatabaseSettings, BrokerSettings), (GatewaySettings, SandboxSettings));

const PREFETCH: u16 = 32;
const CONCURRENCY: usize = 8;
const RETRY_PAUSE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    run("vault-proxy", start)
}

async fn start(context: Context<Settings>) -> anyhow::Result<()> {
    let ((database, broker), (gateway, sandbox)) = &context.settings;
    let database = Database::connect(database.url.expose_secret(), database.pool_size)?;
    let broker = Broker::connect(&broker.url, "vault-proxy").await?;
    broker.declare_topology().await?;
    let gateway = Gateway::new(gateway.url.clone(), gateway.api_key.as_ref())?;
    let host = nix::unistd::gethostname().context("the machine's name cannot be read")?;
    let host = host.to_string_lossy().into_owned();
    let user = nix::unistd::geteuid().is_root().then_some(sandbox.user_id);

    let checked = broker.clone();
    context.health.add("broker", move || {
        let outcome = checked.check().map_err(|error| error.to_string());
        async move { outcome }
    });
    let pinged = database.clone();
    context.health.add("database", move || {
        let database = pinged.clone();
        async move { database.ping().await.map_err(|error| error.to_string()) }
    });
    context.serve_health()?;

    let shutdown = context.shutdown.token();
    let owners = Arc::new(database.clone());
    let doors = Doors::new(owners, gateway, user, context.tasks.clone(), shutdown.clone());

    let name = format!("{}-{}", std::process::id(), SystemIds.uuid().simple());
    let replica = Replica::announce(&sandbox.data_dir, name)
        .context("this replica cannot leave its mark in the data directory")?;
    reopen(&doors, &database, &host, &context).await?;
    let keeping = replica.keep(doors.clone(), database, host, shutdown.clone());
    context.tasks.spawn("replicas", keeping);
    let consuming = broker.clone();
    context.tasks.spawn("egress commands", async move {
        let handler = move |message| {
            let doors = doors.clone();
            async move { carry_out(&doors, &message) }
        };
        consuming.consume(Queue::EGRESS_COMMANDS, PREFETCH, CONCURRENCY, shutdown, handler).await;
    });
    Ok(())
}

/// Waits for the database as long as it takes: sandboxes that live have no other way out.
async fn reopen(
    doors: &Doors,
    database: &Database,
    host: &str,
    context: &Context<Settings>,
) -> anyhow::Result<()> {
    loop {
        match reopen_all(doors, database, host).await {
            Ok(()) => return Ok(()),
            Err(error) if error.is_transient() => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "waiting for the database"
                );
            }
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = context.shutdown.requested() => return Ok(()),
            () = tokio::time::sleep(RETRY_PAUSE) => {}
        }
    }
}
