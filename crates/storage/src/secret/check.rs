//! Whether the keys of a process are those under which the database's secrets lie.

use std::time::Duration;

use chrono::{DateTime, Utc};
use platform_core::failure::Failure;

use super::read::{note_key, unknown_keys};
use crate::{Database, StorageError};

/// How often a database that is away is asked again.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The platform cannot work with these keys.
#[derive(Debug, thiserror::Error)]
pub enum WrongKey {
    #[error("the stored secrets cannot be looked at")]
    Storage(#[from] StorageError),
    #[error(
        "ENCRYPTION_KEY is not the key of this database: {count} secrets lie under {missing}. Start with the key that they lie under, or name \
         that one in ENCRYPTION_KEY_PREVIOUS and run `vault-proxy rotate-keys`"
    )]
    Missing { missing: String, count: i64 },
}

/// Refuses keys under which not everything stored can be read, and notes the current one. `ids` names them, the current one first.
///
/// Every process that seals, opens or recognises secrets asks this at its start: with a wrong key, what one of them seals would be lost to
/// the others, and what one of them is to recognise would be seen by nobody. Waits for a database that is away.
pub async fn check_keys(
    database: &Database,
    ids: &[String],
    now: DateTime<Utc>,
) -> Result<(), WrongKey> {
    loop {
        match look(database, ids, now).await {
            Err(WrongKey::Storage(error)) if error.is_transient() => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the stored secrets cannot be looked at yet"
                );
                tokio::time::sleep(ASK_AGAIN_AFTER).await;
            }
            looked => return looked,
        }
    }
}

async fn look(database: &Database, ids: &[String], now: DateTime<Utc>) -> Result<(), WrongKey> {
    let mut connection = database.connection().await?;
    let unknown = unknown_keys(&mut connection, ids).await?;
    if !unknown.is_empty() {
        let count = unknown.iter().map(|(_, count)| count).sum();
        let keys: Vec<String> = unknown.into_iter().map(|(key, _)| format!("key {key}")).collect();
        return Err(WrongKey::Missing { missing: keys.join(", "), count });
    }
    if let Some(current) = ids.first() {
        note_key(&mut connection, current, now).await?;
    }
    Ok(())
}
