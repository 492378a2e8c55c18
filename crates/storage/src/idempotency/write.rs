//! What becomes of a request that was begun.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use platform_core::id::TeamId;
use serde_json::Value;

use crate::schema::idempotency_keys;
use crate::{Connection, StorageError};

/// Keeps the answer for repeats.
pub async fn finish(
    connection: &mut Connection,
    team: TeamId,
    key: &str,
    status: u16,
    response: &Value,
) -> Result<(), StorageError> {
    diesel::update(idempotency_keys::table.find((team.uuid(), key)))
        .set((
            idempotency_keys::status.eq(i32::from(status)),
            idempotency_keys::response.eq(response),
        ))
        .execute(connection)
        .await?;
    Ok(())
}

/// Gives the key back after a request that had no effect, so that the client can try again.
pub async fn abandon(
    connection: &mut Connection,
    team: TeamId,
    key: &str,
) -> Result<(), StorageError> {
    diesel::delete(idempotency_keys::table.find((team.uuid(), key)))
        .filter(idempotency_keys::status.is_null())
        .execute(connection)
        .await?;
    Ok(())
}

/// Forgets old keys, after which they can be used anew. Of all teams: this is the worker's sweep. Answers how many.
pub async fn delete_older_than(
    connection: &mut Connection,
    before: DateTime<Utc>,
) -> Result<usize, StorageError> {
    let deleted = diesel::delete(idempotency_keys::table)
        .filter(idempotency_keys::created_at.lt(before))
        .execute(connection)
        .await?;
    Ok(deleted)
}
