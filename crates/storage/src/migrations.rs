//! The migrations themselves, and how to apply them one process at a time.

use diesel::result::{ConnectionError, Error as DieselError};
use diesel::sql_types::BigInt;
use diesel_async::{AsyncConnection, AsyncMigrationHarness, RunQueryDsl};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use crate::{Connection, StorageError};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations");
/// Any number, the same for everybody who migrates.
const LOCK: i64 = 0x6c61_705f_6d69_6772;

/// The database could not be brought to the present schema.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What was applied before the failing one stays applied.
    #[error("a migration cannot be applied")]
    Migration(#[source] Box<dyn std::error::Error + Send + Sync>),
}

diesel::define_sql_function!(fn pg_try_advisory_lock(key: BigInt) -> Bool);

/// A connection of its own, that holds the right to migrate. It ends with the connection, so nothing is left locked behind a crash.
pub struct Migration {
    connection: Connection,
}

/// Connects for a migration. `Unavailable` may pass by waiting; anything else will not.
pub async fn connect(url: &str) -> Result<Connection, StorageError> {
    Connection::establish(url).await.map_err(|error| {
        if let ConnectionError::CouldntSetupConfiguration(cause) = error {
            classify(cause)
        } else {
            StorageError::Unavailable(Box::new(error))
        }
    })
}

impl Migration {
    /// Waits until nobody else migrates. Calls `on_wait` once if that takes a while.
    pub async fn begin(
        mut connection: Connection,
        on_wait: impl FnOnce(),
    ) -> Result<Self, StorageError> {
        let is_free: bool =
            diesel::select(pg_try_advisory_lock(LOCK)).get_result(&mut connection).await?;
        if !is_free {
            on_wait();
            diesel::sql_query("select pg_advisory_lock($1)")
                .bind::<BigInt, _>(LOCK)
                .execute(&mut connection)
                .await?;
        }
        Ok(Self { connection })
    }

    /// Applies what the database lacks, each migration in its own transaction, and answers the versions it applied.
    ///
    /// Blocks its thread meanwhile, so it needs the multi-thread runtime.
    pub fn apply(self) -> Result<Vec<String>, MigrateError> {
        let mut harness = AsyncMigrationHarness::new(self.connection);
        let applied =
            harness.run_pending_migrations(MIGRATIONS).map_err(MigrateError::Migration)?;
        Ok(applied.iter().map(ToString::to_string).collect())
    }
}

/// diesel reports an address that cannot be read like a server that does not answer, but waiting does not cure it.
fn classify(error: DieselError) -> StorageError {
    const BEGINNINGS: [&str; 2] = ["invalid connection string", "invalid configuration"];
    let message = error.to_string();
    if BEGINNINGS.iter().any(|beginning| message.starts_with(beginning)) {
        StorageError::Refused(error)
    } else {
        error.into()
    }
}
