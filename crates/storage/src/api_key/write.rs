//! Creating, revoking and marking keys.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use platform_core::id::{ApiKeyId, TeamId};
use platform_core::team::ApiKey;

use super::row::ApiKeyRow;
use crate::schema::api_keys;
use crate::{Connection, StorageError};

/// `lookup` is the part of the key that finds its row, `hash` the SHA-256 of the whole.
pub async fn insert(
    connection: &mut Connection,
    key: &ApiKey,
    lookup: &str,
    hash: &[u8],
) -> Result<(), StorageError> {
    diesel::insert_into(api_keys::table)
        .values((ApiKeyRow::from(key), api_keys::lookup.eq(lookup), api_keys::hash.eq(hash)))
        .execute(connection)
        .await?;
    Ok(())
}

/// Ends the key at once and for good. Revoking twice keeps the first time.
pub async fn revoke(
    connection: &mut Connection,
    team: TeamId,
    key: ApiKeyId,
    now: DateTime<Utc>,
) -> Result<ApiKey, StorageError> {
    diesel::update(api_keys::table)
        .filter(api_keys::team_id.eq(team.uuid()))
        .filter(api_keys::id.eq(key.uuid()))
        .filter(api_keys::revoked_at.is_null())
        .set(api_keys::revoked_at.eq(now))
        .execute(connection)
        .await?;
    super::find(connection, team, key).await?.ok_or(StorageError::NotFound("API key"))
}

/// Notes the use of a key. Callers do so now and then, not with each request.
pub async fn touch_last_used(
    connection: &mut Connection,
    team: TeamId,
    key: ApiKeyId,
    now: DateTime<Utc>,
) -> Result<(), StorageError> {
    diesel::update(api_keys::table)
        .filter(api_keys::team_id.eq(team.uuid()))
        .filter(api_keys::id.eq(key.uuid()))
        .set(api_keys::last_used_at.eq(now))
        .execute(connection)
        .await?;
    Ok(())
}
