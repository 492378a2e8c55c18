//! migrate: brings the database to the present schema and exits. Runs before anything else; any number may run at once.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use platform_core::failure::Failure;
use platform_runtime::settings::{self, DatabaseSettings};
use platform_storage::Connection;
use platform_storage::migrations::{self, Migration};
use secrecy::ExposeSecret;
use tokio::time::{Instant, sleep};

/// How long PostgreSQL may take to come up.
const PATIENCE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(500);

#[tokio::main]
async fn main() -> ExitCode {
    match migrate().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("migrate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn migrate() -> anyhow::Result<()> {
    let loaded = settings::load::<DatabaseSettings>("migrate")?;
    for warning in loaded.warnings {
        eprintln!("migrate: {warning}");
    }
    let connection = connect(loaded.settings.url.expose_secret()).await?;
    let migration =
        Migration::begin(connection, || println!("another migrate is at work; waiting for it"))
            .await
            .context("cannot take the migration lock")?;
    let applied = migration.apply()?;
    if applied.is_empty() {
        println!("the database is up to date");
    }
    for version in applied {
        println!("applied {version}");
    }
    Ok(())
}

/// Waits for PostgreSQL, and says so.
async fn connect(url: &str) -> anyhow::Result<Connection> {
    let begin = Instant::now();
    let mut was_told = false;
    loop {
        let error = match migrations::connect(url).await {
            Ok(connection) => return Ok(connection),
            Err(error) => error,
        };
        let is_hopeless = !error.is_transient();
        let error = anyhow!(error).context("cannot connect to PostgreSQL (DATABASE_URL)");
        if is_hopeless {
            return Err(error);
        }
        if begin.elapsed() >= PATIENCE {
            return Err(error.context(format!("gave up after {} seconds", PATIENCE.as_secs())));
        }
        if !was_told {
            println!("waiting up to {} seconds for PostgreSQL: {error:#}", PATIENCE.as_secs());
            was_told = true;
        }
        sleep(PAUSE).await;
    }
}
