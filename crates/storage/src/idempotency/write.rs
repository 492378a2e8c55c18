//! What becomes of a request that was begun.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Timestamptz};
use diesel_async::RunQueryDsl;
use platform_core::id::{SessionId, TeamId};
use serde_json::Value;
use uuid::Uuid;

use crate::schema::{idempotency_keys, sessions};
use crate::{Connection, StorageError};

/// Keeps the answer for repeats. One that speaks of a session is forgotten together with it, so at once if it is gone already.
pub async fn finish(
    connection: &mut Connection,
    team: TeamId,
    key: &str,
    status: u16,
    response: &Value,
    session: Option<SessionId>,
) -> Result<(), StorageError> {
    diesel::update(idempotency_keys::table.find((team.uuid(), key)))
        .set((
            idempotency_keys::status.eq(i32::from(status)),
            idempotency_keys::response.eq(response),
            idempotency_keys::session_id.eq(session.map(SessionId::uuid)),
        ))
        .execute(connection)
        .await?;
    match session {
        Some(session) if !exists(connection, team, session).await? => {
            forget_session(connection, team, session).await
        }
        Some(_) | None => Ok(()),
    }
}

/// Waits for a deletion that is under way: either that finds the answer, or this finds no session.
async fn exists(
    connection: &mut Connection,
    team: TeamId,
    session: SessionId,
) -> Result<bool, StorageError> {
    let found: Option<Uuid> = sessions::table
        .filter(sessions::team_id.eq(team.uuid()))
        .filter(sessions::id.eq(session.uuid()))
        .select(sessions::id)
        .for_key_share()
        .first(connection)
        .await
        .optional()?;
    Ok(found.is_some())
}

/// Forgets the answers that speak of a session, after which their keys can be used anew.
pub async fn forget_session(
    connection: &mut Connection,
    team: TeamId,
    session: SessionId,
) -> Result<(), StorageError> {
    diesel::delete(idempotency_keys::table)
        .filter(idempotency_keys::team_id.eq(team.uuid()))
        .filter(idempotency_keys::session_id.eq(session.uuid()))
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

/// Forgets old keys, after which they can be used anew; at most `limit` of them, so that nobody waits long behind it. Of all teams: this
/// is the worker's sweep. Answers how many.
pub async fn delete_older_than(
    connection: &mut Connection,
    before: DateTime<Utc>,
    limit: u32,
) -> Result<usize, StorageError> {
    let deleted = diesel::sql_query(
        "delete from idempotency_keys where ctid = any (array(
             select ctid from idempotency_keys where created_at < $1 order by created_at limit $2))",
    )
    .bind::<Timestamptz, _>(before)
    .bind::<BigInt, _>(i64::from(limit))
    .execute(connection)
    .await?;
    Ok(deleted)
}
