//! Secrets whose owner is gone.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::schema::{agents, credentials, environments, secrets, sessions};
use crate::{Connection, StorageError};

/// Removes secrets of all teams that were stored before `time` and belong to no credential, environment, agent or session (any more), at
/// most `limit`. Answers how many were removed.
///
/// They are deleted with their owner; what is found here was left behind when something broke off.
pub async fn forget_orphans(
    connection: &mut Connection,
    time: DateTime<Utc>,
    limit: i64,
) -> Result<usize, StorageError> {
    let owner = secrets::owner_id;
    let orphans: Vec<Uuid> = secrets::table
        .filter(secrets::created_at.lt(time))
        // The platform's own belong to nobody.
        .filter(secrets::team_id.is_not_null())
        .filter(diesel::dsl::not(diesel::dsl::exists(
            credentials::table.filter(credentials::id.eq(owner)),
        )))
        .filter(diesel::dsl::not(diesel::dsl::exists(
            environments::table.filter(environments::id.eq(owner)),
        )))
        .filter(diesel::dsl::not(diesel::dsl::exists(agents::table.filter(agents::id.eq(owner)))))
        .filter(diesel::dsl::not(diesel::dsl::exists(
            sessions::table.filter(sessions::id.eq(owner)),
        )))
        .select(secrets::id)
        .limit(limit)
        .load(connection)
        .await?;
    let removed = diesel::delete(secrets::table.filter(secrets::id.eq_any(orphans)))
        .execute(connection)
        .await?;
    Ok(removed)
}
