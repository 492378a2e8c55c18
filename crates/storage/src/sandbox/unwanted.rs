//! Sandboxes that no session wants any more, and that should have been stopped.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use platform_core::id::{Id, SandboxId, SessionId, TeamId};
use platform_core::sandbox::Epoch;
use uuid::Uuid;

use crate::column::from_bigint;
use crate::{Connection, StorageError};

/// A sandbox that lives on while its session has another one, none, or does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unwanted {
    pub team_id: TeamId,
    pub session_id: SessionId,
    pub epoch: Epoch,
    pub sandbox_id: SandboxId,
    pub session_is_deleted: bool,
    pub created_at: DateTime<Utc>,
}

#[derive(QueryableByName)]
struct UnwantedRow {
    #[diesel(sql_type = SqlUuid)]
    team_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    session_id: Uuid,
    #[diesel(sql_type = BigInt)]
    epoch: i64,
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = Bool)]
    session_is_deleted: bool,
    #[diesel(sql_type = Timestamptz)]
    created_at: DateTime<Utc>,
}

/// Living sandboxes that were unwanted before `before` already, while nothing of their sessions waits in the outbox; oldest first, those
/// after `past`. Of all teams: this is the worker's sweep.
///
/// When a session was deleted is not known; that its sandbox is as old as that stands for it.
pub async fn list_unwanted(
    connection: &mut Connection,
    before: DateTime<Utc>,
    past: Option<&Unwanted>,
    limit: u32,
) -> Result<Vec<Unwanted>, StorageError> {
    // A session at work changes all the time; there the age of its next sandbox tells how long this one has been unwanted.
    let rows: Vec<UnwantedRow> = diesel::sql_query(
        "select old.team_id, old.session_id, old.epoch, old.id, old.created_at,
                sessions.id is null as session_is_deleted
         from sandboxes old
         left join sessions on sessions.team_id = old.team_id and sessions.id = old.session_id
         where old.state <> 'gone' and old.session_id is not null and old.created_at < $1
           and (sessions.id is null
                or (sessions.archived_at is not null or sessions.status = 'terminated' or sessions.epoch > old.epoch)
                   and (sessions.updated_at < $1
                        or exists (select from sandboxes next
                                   where next.session_id = old.session_id and next.epoch > old.epoch
                                     and next.created_at < $1)))
           and not exists (select from outbox where outbox.session_id = old.session_id)
           and ($2 is null or (old.created_at, old.id) > ($2, $3))
         order by old.created_at, old.id
         limit $4",
    )
    .bind::<Timestamptz, _>(before)
    .bind::<Nullable<Timestamptz>, _>(past.map(|past| past.created_at))
    .bind::<Nullable<SqlUuid>, _>(past.map(|past| past.sandbox_id.uuid()))
    .bind::<BigInt, _>(i64::from(limit))
    .load(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Unwanted {
                team_id: Id::from_uuid(row.team_id),
                session_id: Id::from_uuid(row.session_id),
                epoch: from_bigint("sandboxes.epoch", row.epoch).map(Epoch)?,
                sandbox_id: Id::from_uuid(row.id),
                session_is_deleted: row.session_is_deleted,
                created_at: row.created_at,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests;
