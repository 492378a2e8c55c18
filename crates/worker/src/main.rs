//! worker: whatever is slow or due. Any number of replicas: what one of them has in hand the others pass over.

mod jobs;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use platform_messaging::Broker;
use platform_runtime::clock::{SystemClock, SystemIds};
use platform_runtime::lifecycle;
use platform_runtime::settings::{BrokerSettings, DatabaseSettings};
use platform_storage::Database;
use secrecy::ExposeSecret;

use jobs::{Context, Job, forget_old, release_idle, sweep_outbox};

fn main() -> ExitCode {
    lifecycle::run("worker", start)
}

async fn start(
    service: lifecycle::Context<(DatabaseSettings, BrokerSettings)>,
) -> anyhow::Result<()> {
    let (database_settings, broker_settings) = &service.settings;
    let database =
        Database::connect(database_settings.url.expose_secret(), database_settings.pool_size)?;
    let broker = Broker::connect(&broker_settings.url, "worker").await?;
    broker.declare_topology().await?;
    add_checks(&service, database.clone(), broker.clone());
    service.serve_health()?;
    let context =
        Context { database, broker, clock: Arc::new(SystemClock), ids: Arc::new(SystemIds) };
    let jobs = [
        Job::new("outbox sweep", Duration::from_secs(1), sweep_outbox::sweep_outbox),
        Job::new("idle release", Duration::from_secs(15), release_idle::release_idle),
        Job::new("retention", Duration::from_mins(5), forget_old::forget_old),
    ];
    for job in jobs {
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
