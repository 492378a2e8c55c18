//! The repository's migrations, applied without diesel as diesel would apply them.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use tokio_postgres::Client;

use crate::servers::TestSupportError;

/// Diesel's own record of what was applied: with it, the real `migrate` finds nothing left to do.
const LEDGER: &str = "create table __diesel_schema_migrations \
    (version varchar(50) primary key, run_on timestamp not null default current_timestamp)";

pub(crate) struct Migration {
    version: String,
    sql: String,
}

/// Every migration, in the order of their versions.
pub(crate) fn read() -> Result<Vec<Migration>, TestSupportError> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations");
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| TestSupportError::Migrations { path, source }
    };
    let mut folders: Vec<PathBuf> = fs::read_dir(&directory)
        .map_err(failed(&directory))?
        .filter_map(|entry| Some(entry.ok()?.path()).filter(|path| path.join("up.sql").is_file()))
        .collect();
    folders.sort();
    let migration = |folder: PathBuf| {
        let file = folder.join("up.sql");
        let sql = fs::read_to_string(&file).map_err(failed(&file))?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let version = name.split('_').next().unwrap_or_default().replace('-', "");
        Ok(Migration { version, sql })
    };
    folders.into_iter().map(migration).collect()
}

/// Changes when any migration changes.
pub(crate) fn fingerprint(migrations: &[Migration]) -> String {
    let mut hasher = DefaultHasher::new();
    for migration in migrations {
        (&migration.version, &migration.sql).hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

/// Applies all of them to an empty database.
pub(crate) async fn apply(
    client: &Client,
    migrations: &[Migration],
) -> Result<(), TestSupportError> {
    let failed = |action: &str| {
        let action = action.to_owned();
        move |source| TestSupportError::Database { action, source }
    };
    client.batch_execute(LEDGER).await.map_err(failed("make the ledger of migrations"))?;
    for Migration { version, sql } in migrations {
        let applied = client.batch_execute(sql).await;
        applied.map_err(failed(&format!("apply migration {version}")))?;
        let insert = "insert into __diesel_schema_migrations (version) values ($1)";
        client.execute(insert, &[version]).await.map_err(failed("record a migration"))?;
    }
    Ok(())
}
