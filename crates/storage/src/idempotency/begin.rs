//! The first look at a key, which decides who carries the request out.

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel::upsert::excluded;
use diesel_async::RunQueryDsl;
use platform_core::id::TeamId;
use serde_json::Value;

use crate::column::unreadable;
use crate::schema::idempotency_keys;
use crate::{Connection, StorageError};

/// A request that is under way for longer than this was left by a gateway that died; a repeat takes it over.
pub const TAKEN_OVER_AFTER: TimeDelta = TimeDelta::seconds(60);

/// What is known of the key.
#[derive(Debug, Clone, PartialEq)]
pub enum Begun {
    /// Nothing yet: the caller carries the request out, and then calls `finish` or `abandon`.
    Fresh,
    /// The same request is being carried out by someone else.
    InProgress,
    /// The same request was answered with this.
    Answered { status: u16, response: Value },
    /// The key was used for another request.
    OtherRequest,
}

/// Takes the key for the request, or tells what became of the request that has it. Of several that begin at once one is `Fresh`.
pub async fn begin(
    connection: &mut Connection,
    team: TeamId,
    key: &str,
    request_hash: &[u8],
    now: DateTime<Utc>,
) -> Result<Begun, StorageError> {
    // A row that was abandoned between the two statements is tried again; that this happens forever is not possible.
    loop {
        if take(connection, team, key, request_hash, now).await? {
            return Ok(Begun::Fresh);
        }
        let found: Option<(Vec<u8>, Option<i32>, Option<Value>)> = idempotency_keys::table
            .find((team.uuid(), key))
            .select((
                idempotency_keys::request_hash,
                idempotency_keys::status,
                idempotency_keys::response,
            ))
            .first(connection)
            .await
            .optional()?;
        let Some((hash, status, response)) = found else {
            continue;
        };
        if hash != request_hash {
            return Ok(Begun::OtherRequest);
        }
        let Some(status) = status else {
            return Ok(Begun::InProgress);
        };
        let status =
            u16::try_from(status).map_err(|error| unreadable("idempotency_keys.status", error))?;
        return Ok(Begun::Answered { status, response: response.unwrap_or(Value::Null) });
    }
}

/// Inserts the key, or takes it over from a request of the same content that was left unfinished.
async fn take(
    connection: &mut Connection,
    team: TeamId,
    key: &str,
    request_hash: &[u8],
    now: DateTime<Utc>,
) -> Result<bool, StorageError> {
    // `QueryDsl::filter` does not know inserts.
    use diesel::query_dsl::methods::FilterDsl;

    let taken = diesel::insert_into(idempotency_keys::table)
        .values((
            idempotency_keys::team_id.eq(team.uuid()),
            idempotency_keys::key.eq(key),
            idempotency_keys::request_hash.eq(request_hash),
            idempotency_keys::created_at.eq(now),
        ))
        .on_conflict((idempotency_keys::team_id, idempotency_keys::key))
        .do_update()
        .set(idempotency_keys::created_at.eq(excluded(idempotency_keys::created_at)))
        .filter(
            idempotency_keys::status
                .is_null()
                .and(idempotency_keys::request_hash.eq(request_hash))
                .and(idempotency_keys::created_at.lt(now - TAKEN_OVER_AFTER)),
        )
        .execute(connection)
        .await?;
    Ok(taken == 1)
}
