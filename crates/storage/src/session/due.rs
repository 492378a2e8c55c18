//! Sessions with which something is to be done because of their age. Of all teams: these are the worker's sweeps.
//!
//! Each list goes on after the last of the one before, so that what cannot be dealt with does not hide what comes behind it.

use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use platform_core::id::{Id, SandboxId, SessionId, TeamId};
use platform_core::sandbox::Epoch;
use uuid::Uuid;

use crate::column::from_bigint;
use crate::schema::{environments, sessions};
use crate::{Connection, StorageError};

/// A sandbox whose session has been idle for longer than its environment allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdleSandbox {
    pub team_id: TeamId,
    pub session_id: SessionId,
    pub sandbox_id: SandboxId,
    pub epoch: Epoch,
    pub idle_since: DateTime<Utc>,
}

/// A session that counts on a sandbox which does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bereft {
    pub team_id: TeamId,
    pub session_id: SessionId,
    pub epoch: Epoch,
    /// None was ready yet when it is `None`.
    pub sandbox_id: Option<SandboxId>,
    pub updated_at: DateTime<Utc>,
}

/// Until when a session must have last changed for its missing sandbox to mean that something was lost.
#[derive(Debug, Clone, Copy)]
pub struct BereftSince {
    /// For one that had its sandbox.
    pub lost: DateTime<Utc>,
    /// For one whose sandbox never came to be: the command for it may still wait for a sandbox-service that is away.
    pub never_begun: DateTime<Utc>,
}

/// A session that its team wants put away or removed by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    pub team_id: TeamId,
    pub session_id: SessionId,
    pub updated_at: DateTime<Utc>,
}

/// Sandboxes that may be given back at `now`, longest idle first, those after `past`. A turn that waits for an answer counts as idle.
pub async fn list_idle_with_sandbox(
    connection: &mut Connection,
    now: DateTime<Utc>,
    past: Option<&IdleSandbox>,
    limit: u32,
) -> Result<Vec<IdleSandbox>, StorageError> {
    // Null, so never true, for environments without a timeout.
    let is_overdue = sql::<Bool>(
        "sessions.idle_since + make_interval(secs => (environments.config->>'idle_timeout_seconds')::double precision) <= ",
    )
    .bind::<Timestamptz, _>(now);
    let mut query = sessions::table
        .inner_join(environments::table.on(environments::id.eq(sessions::environment_id)))
        .filter(sessions::sandbox_id.is_not_null())
        .filter(sessions::idle_since.is_not_null())
        .filter(is_overdue)
        .order((sessions::idle_since.asc(), sessions::id.asc()))
        .limit(i64::from(limit))
        .select((
            sessions::team_id,
            sessions::id,
            sessions::sandbox_id.assume_not_null(),
            sessions::epoch,
            sessions::idle_since.assume_not_null(),
        ))
        .into_boxed();
    if let Some(past) = past {
        let is_behind =
            sessions::idle_since.gt(past.idle_since).or(sessions::id.gt(past.session_id.uuid()));
        // Written so that the index begins where the last list ended.
        query = query.filter(sessions::idle_since.ge(past.idle_since)).filter(is_behind);
    }
    query
        .load::<(Uuid, Uuid, Uuid, i64, DateTime<Utc>)>(connection)
        .await?
        .into_iter()
        .map(|(team, session, sandbox, epoch, idle_since)| {
            Ok(IdleSandbox {
                team_id: Id::from_uuid(team),
                session_id: Id::from_uuid(session),
                sandbox_id: Id::from_uuid(sandbox),
                epoch: epoch_of(epoch)?,
                idle_since,
            })
        })
        .collect()
}

#[derive(QueryableByName)]
struct BereftRow {
    #[diesel(sql_type = SqlUuid)]
    team_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = BigInt)]
    epoch: i64,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    sandbox_id: Option<Uuid>,
    #[diesel(sql_type = Timestamptz)]
    updated_at: DateTime<Utc>,
}

/// Sessions that have a sandbox, or should have one by now, while none of their epoch exists and nothing of theirs waits in the outbox;
/// longest unchanged first, those after `past`.
pub async fn list_bereft(
    connection: &mut Connection,
    since: BereftSince,
    past: Option<&Bereft>,
    limit: u32,
) -> Result<Vec<Bereft>, StorageError> {
    // Each half has an index of its own: `sessions_at_work`, and `sessions_idle`.
    let rows: Vec<BereftRow> = diesel::sql_query(
        "with candidates as (
             select team_id, id, epoch, sandbox_id, updated_at from sessions
             where status in ('running', 'rescheduling') and updated_at < $1
             union
             select team_id, id, epoch, sandbox_id, updated_at from sessions
             where sandbox_id is not null and idle_since is not null and archived_at is null and updated_at < $1
         )
         select candidates.* from candidates
         left join sandboxes on sandboxes.session_id = candidates.id and sandboxes.epoch = candidates.epoch
         where coalesce(sandboxes.state, 'gone') = 'gone'
           and (candidates.sandbox_id is not null or sandboxes.id is not null or candidates.updated_at < $2)
           and not exists (select from outbox where outbox.session_id = candidates.id)
           and ($3 is null or (candidates.updated_at, candidates.id) > ($3, $4))
         order by candidates.updated_at, candidates.id
         limit $5",
    )
    .bind::<Timestamptz, _>(since.lost)
    .bind::<Timestamptz, _>(since.never_begun)
    .bind::<Nullable<Timestamptz>, _>(past.map(|past| past.updated_at))
    .bind::<Nullable<SqlUuid>, _>(past.map(|past| past.session_id.uuid()))
    .bind::<BigInt, _>(i64::from(limit))
    .load(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Bereft {
                team_id: Id::from_uuid(row.team_id),
                session_id: Id::from_uuid(row.id),
                epoch: epoch_of(row.epoch)?,
                sandbox_id: row.sandbox_id.map(Id::from_uuid),
                updated_at: row.updated_at,
            })
        })
        .collect()
}

#[derive(QueryableByName)]
struct DueRow {
    #[diesel(sql_type = SqlUuid)]
    team_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = Timestamptz)]
    updated_at: DateTime<Utc>,
}

/// Sessions without an open turn that nobody has touched for longer than their team keeps such; at most `limit` of each team.
pub async fn list_inactive(
    connection: &mut Connection,
    now: DateTime<Utc>,
    limit: u32,
) -> Result<Vec<Due>, StorageError> {
    // A session of age `infinity` is never due; a hundred years stand for whatever is beyond the calendar.
    let rows: Vec<DueRow> = diesel::sql_query(
        "select due.team_id, due.id, due.updated_at from teams
         cross join lateral (
             select team_id, id, updated_at from sessions
             where sessions.team_id = teams.id and archived_at is null and status in ('idle', 'terminated')
               and updated_at < $1 - make_interval(secs => least(teams.archive_inactive_after_seconds, 3155760000))
               and not exists (select from turns where turns.session_id = sessions.id and turns.state <> 'ended')
             order by updated_at limit $2
         ) due
         where teams.archive_inactive_after_seconds is not null",
    )
    .bind::<Timestamptz, _>(now)
    .bind::<BigInt, _>(i64::from(limit))
    .load(connection)
    .await?;
    Ok(due(rows))
}

/// Sessions that have been archived for longer than their team keeps such; at most `limit` of each team.
pub async fn list_archived_for_long(
    connection: &mut Connection,
    now: DateTime<Utc>,
    limit: u32,
) -> Result<Vec<Due>, StorageError> {
    let rows: Vec<DueRow> = diesel::sql_query(
        "select due.team_id, due.id, due.updated_at from teams
         cross join lateral (
             select team_id, id, updated_at from sessions
             where sessions.team_id = teams.id
               and archived_at < $1 - make_interval(secs => least(teams.delete_archived_after_seconds, 3155760000))
             order by archived_at limit $2
         ) due
         where teams.delete_archived_after_seconds is not null",
    )
    .bind::<Timestamptz, _>(now)
    .bind::<BigInt, _>(i64::from(limit))
    .load(connection)
    .await?;
    Ok(due(rows))
}

/// Sessions that stand still before a turn although neither their budget nor their team's is used up; longest unchanged first, those
/// after `past`.
pub async fn list_resumable(
    connection: &mut Connection,
    past: Option<&Due>,
    limit: u32,
) -> Result<Vec<Due>, StorageError> {
    // There are few open turns, and they have an index of their own.
    let rows: Vec<DueRow> = diesel::sql_query(
        "select sessions.team_id, sessions.id, sessions.updated_at from sessions
         join teams on teams.id = sessions.team_id
         where sessions.status = 'idle'
           and sessions.id in (select session_id from turns where state <> 'ended' group by session_id having bool_and(state = 'queued'))
           and (teams.budget_nano_usd is null or teams.spent_nano_usd < teams.budget_nano_usd)
           and (sessions.budget is null
                or (sessions.usage->>'cost_nano_usd')::bigint < (sessions.budget->>'max_cost')::bigint)
           and ($1 is null or (sessions.updated_at, sessions.id) > ($1, $2))
         order by sessions.updated_at, sessions.id
         limit $3",
    )
    .bind::<Nullable<Timestamptz>, _>(past.map(|past| past.updated_at))
    .bind::<Nullable<SqlUuid>, _>(past.map(|past| past.session_id.uuid()))
    .bind::<BigInt, _>(i64::from(limit))
    .load(connection)
    .await?;
    Ok(due(rows))
}

fn due(rows: Vec<DueRow>) -> Vec<Due> {
    rows.into_iter()
        .map(|row| Due {
            team_id: Id::from_uuid(row.team_id),
            session_id: Id::from_uuid(row.id),
            updated_at: row.updated_at,
        })
        .collect()
}

fn epoch_of(epoch: i64) -> Result<Epoch, StorageError> {
    from_bigint("sessions.epoch", epoch).map(Epoch)
}

#[cfg(test)]
mod tests;
