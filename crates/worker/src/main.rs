//! Starts worker: settings, database, broker, the jobs, and the end.

use std::process::ExitCode;
use std::sync::Arc;

use platform_core::clock::IdSource;
use platform_messaging::Broker;
use platform_runtime::clock::{SystemClock, SystemIds};
use platform_runtime::lifecycle;
use platform_runtime::settings::{BrokerSettings, DatabaseSettings, RetentionSettings};
use platform_storage::Database;
use secrecy::ExposeSecret;
use worker::jobs::{self, Context};

fn main() -> ExitCode {
    lifecycle::run("worker", start)
}

async fn start(
    service: lifecycle::Context<(DatabaseSettings, BrokerSettings, RetentionSettings)>,
) -> anyhow::Result<()> {
    let (database_settings, broker_settings, retention) = &service.settings;
    let database =
        Database::connect(database_settings.url.expose_secret(), database_settings.pool_size)?;
    let broker = Broker::connect(&broker_settings.url, "worker").await?;
    broker.declare_topology().await?;
    add_checks(&service, database.clone(), broker.clone());
    service.serve_health()?;
    let context = Context {
        database,
        broker,
        clock: Arc::new(SystemClock),
        ids: Arc::new(SystemIds),
        egress_kept: retention.egress,
        holder: SystemIds.uuid(),
    };
    for job in jobs::all() {
        service.tasks.spawn(job.name, job.repeat(context.clone(), service.shutdown.token()));
    }
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
