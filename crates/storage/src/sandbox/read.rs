//! Finding sandboxes: for their owner across teams, for the API within one.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use platform_core::id::{AgentId, Id, SandboxId, SessionId, TeamId};
use platform_core::sandbox::{Epoch, Sandbox, SandboxState};
use uuid::Uuid;

use super::row::SandboxRow;
use crate::column::to_bigint;
use crate::schema::{sandboxes, sessions};
use crate::{Connection, Cursor, Order, Page, PageRequest, StorageError};

const GONE: &str = SandboxState::Gone.as_word();
const QUEUED: &str = SandboxState::Queued.as_word();
const READY: &str = SandboxState::Ready.as_word();

/// Whose a sandbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SandboxIdentity {
    pub team_id: TeamId,
    pub agent_id: AgentId,
    pub session_id: SessionId,
}

/// A ready sandbox whose session has no turn under way.
#[derive(Debug, Clone, PartialEq)]
pub struct IdleReady {
    pub sandbox: Sandbox,
    pub idle_since: DateTime<Utc>,
}

/// Of whichever team: sandbox-service and vault-proxy know a sandbox by nothing but its id.
pub async fn find(
    connection: &mut Connection,
    sandbox: SandboxId,
) -> Result<Option<Sandbox>, StorageError> {
    SandboxRow::query()
        .filter(sandboxes::id.eq(sandbox.uuid()))
        .first(connection)
        .await
        .optional()?
        .map(Sandbox::try_from)
        .transpose()
}

/// As [`find`]; until the end of the transaction nobody else changes the row.
pub async fn find_for_update(
    connection: &mut Connection,
    sandbox: SandboxId,
) -> Result<Option<Sandbox>, StorageError> {
    SandboxRow::query()
        .filter(sandboxes::id.eq(sandbox.uuid()))
        .for_update()
        .first(connection)
        .await
        .optional()?
        .map(Sandbox::try_from)
        .transpose()
}

/// Whose ticket to vault-proxy this is the hash of, of whichever team. Nobody's once the sandbox is being ended.
pub async fn find_by_egress_ticket(
    connection: &mut Connection,
    hash: &[u8],
) -> Result<Option<Sandbox>, StorageError> {
    let running =
        [SandboxState::Starting, SandboxState::Warm, SandboxState::Claimed, SandboxState::Ready];
    SandboxRow::query()
        .filter(sandboxes::egress_ticket_hash.eq(hash))
        .filter(sandboxes::state.eq_any(running.map(SandboxState::as_word)))
        .first(connection)
        .await
        .optional()?
        .map(Sandbox::try_from)
        .transpose()
}

pub async fn find_of_team(
    connection: &mut Connection,
    team: TeamId,
    sandbox: SandboxId,
) -> Result<Option<Sandbox>, StorageError> {
    let found = find(connection, sandbox).await?;
    Ok(found.filter(|sandbox| sandbox.team_id == Some(team)))
}

/// The sandbox that was made for this epoch of the session, in whichever state.
pub async fn find_by_session_epoch(
    connection: &mut Connection,
    team: TeamId,
    session: SessionId,
    epoch: Epoch,
) -> Result<Option<Sandbox>, StorageError> {
    SandboxRow::query()
        .filter(sandboxes::team_id.eq(team.uuid()))
        .filter(sandboxes::session_id.eq(session.uuid()))
        .filter(sandboxes::epoch.eq(to_bigint(epoch.0)))
        .first(connection)
        .await
        .optional()?
        .map(Sandbox::try_from)
        .transpose()
}

/// The session's sandboxes that are not gone yet, oldest epoch first.
pub async fn list_of_session(
    connection: &mut Connection,
    team: TeamId,
    session: SessionId,
) -> Result<Vec<Sandbox>, StorageError> {
    let rows = SandboxRow::query()
        .filter(sandboxes::team_id.eq(team.uuid()))
        .filter(sandboxes::session_id.eq(session.uuid()))
        .filter(sandboxes::state.ne(GONE))
        .order(sandboxes::epoch.asc())
        .load(connection)
        .await?;
    into_sandboxes(rows)
}

/// A team's sandboxes, those that are gone too.
pub async fn list(
    connection: &mut Connection,
    team: TeamId,
    session: Option<SessionId>,
    request: PageRequest,
) -> Result<Page<Sandbox>, StorageError> {
    let mut query = SandboxRow::query().filter(sandboxes::team_id.eq(team.uuid())).into_boxed();
    if let Some(session) = session {
        query = query.filter(sandboxes::session_id.eq(session.uuid()));
    }
    let walk = request.walk();
    query = match walk.order {
        Order::NewestFirst => query.order((sandboxes::created_at.desc(), sandboxes::id.desc())),
        Order::OldestFirst => query.order((sandboxes::created_at.asc(), sandboxes::id.asc())),
    };
    if let Some(Cursor { created_at, id }) = walk.past {
        // As in `session/read.rs`: the first condition tells the index where to begin.
        query = match walk.order {
            Order::NewestFirst => query
                .filter(sandboxes::created_at.le(created_at))
                .filter(sandboxes::created_at.lt(created_at).or(sandboxes::id.lt(id))),
            Order::OldestFirst => query
                .filter(sandboxes::created_at.ge(created_at))
                .filter(sandboxes::created_at.gt(created_at).or(sandboxes::id.gt(id))),
        };
    }
    let met = into_sandboxes(query.limit(walk.limit).load(connection).await?)?;
    Ok(walk.page(met, |sandbox| Cursor { created_at: sandbox.created_at, id: sandbox.id.uuid() }))
}

/// The sandboxes of a machine that wait for room, first come first. Of all teams: they share the machine.
pub async fn next_queued(
    connection: &mut Connection,
    host: &str,
    limit: u32,
) -> Result<Vec<Sandbox>, StorageError> {
    let rows = SandboxRow::query()
        .filter(sandboxes::state.eq(QUEUED))
        .filter(sandboxes::host.eq(host))
        .order((sandboxes::created_at.asc(), sandboxes::id.asc()))
        .limit(i64::from(limit))
        .load(connection)
        .await?;
    into_sandboxes(rows)
}

/// Which place the session's sandbox has in its machine's queue: 1 is next. `None` when it does not wait.
pub async fn queue_position(
    connection: &mut Connection,
    team: TeamId,
    session: SessionId,
    epoch: Epoch,
) -> Result<Option<i64>, StorageError> {
    let Some(sandbox) = find_by_session_epoch(connection, team, session, epoch).await? else {
        return Ok(None);
    };
    if sandbox.state != SandboxState::Queued {
        return Ok(None);
    }
    let came_before = sandboxes::created_at
        .lt(sandbox.created_at)
        .or(sandboxes::created_at.eq(sandbox.created_at).and(sandboxes::id.lt(sandbox.id.uuid())));
    let ahead: i64 = sandboxes::table
        .filter(sandboxes::state.eq(QUEUED))
        .filter(sandboxes::host.eq(sandbox.host))
        .filter(came_before)
        .count()
        .get_result(connection)
        .await?;
    Ok(Some(ahead + 1))
}

/// Everything on a machine that is not gone, the queued ones too. Of all teams: this is how a restarted service finds its sandboxes again.
pub async fn list_living(
    connection: &mut Connection,
    host: &str,
) -> Result<Vec<Sandbox>, StorageError> {
    let rows = SandboxRow::query()
        .filter(sandboxes::state.ne(GONE))
        .filter(sandboxes::host.eq(host))
        .order((sandboxes::created_at.asc(), sandboxes::id.asc()))
        .load(connection)
        .await?;
    into_sandboxes(rows)
}

/// The ids of a machine's sandboxes that may have processes, which excludes the queued ones.
pub async fn list_living_ids(
    connection: &mut Connection,
    host: &str,
) -> Result<Vec<SandboxId>, StorageError> {
    let ids: Vec<Uuid> = sandboxes::table
        .filter(sandboxes::state.ne_all([GONE, QUEUED]))
        .filter(sandboxes::host.eq(host))
        .select(sandboxes::id)
        .load(connection)
        .await?;
    Ok(ids.into_iter().map(Id::from_uuid).collect())
}

/// Ready sandboxes of a machine whose sessions rest, longest idle first: the first to give back when room is needed.
pub async fn longest_idle(
    connection: &mut Connection,
    host: &str,
    limit: u32,
) -> Result<Vec<IdleReady>, StorageError> {
    sandboxes::table
        .inner_join(sessions::table.on(sessions::sandbox_id.eq(sandboxes::id.nullable())))
        .filter(sandboxes::state.eq(READY))
        .filter(sandboxes::host.eq(host))
        .filter(sessions::idle_since.is_not_null())
        .order(sessions::idle_since.asc())
        .limit(i64::from(limit))
        .select((SandboxRow::as_select(), sessions::idle_since.assume_not_null()))
        .load::<(SandboxRow, DateTime<Utc>)>(connection)
        .await?
        .into_iter()
        .map(|(row, idle_since)| Ok(IdleReady { sandbox: row.try_into()?, idle_since }))
        .collect()
}

/// Whose the sandbox is; `None` for an unknown one, one that is gone, and a warm one that nobody has claimed.
///
/// Of whichever team: vault-proxy asks in order to learn the team.
pub async fn identity(
    connection: &mut Connection,
    sandbox: SandboxId,
) -> Result<Option<SandboxIdentity>, StorageError> {
    let found: Option<(Option<Uuid>, Option<Uuid>, Option<Uuid>)> = sandboxes::table
        .find(sandbox.uuid())
        .filter(sandboxes::state.ne(GONE))
        .select((sandboxes::team_id, sandboxes::agent_id, sandboxes::session_id))
        .first(connection)
        .await
        .optional()?;
    let Some((Some(team), Some(agent), Some(session))) = found else {
        return Ok(None);
    };
    Ok(Some(SandboxIdentity {
        team_id: Id::from_uuid(team),
        agent_id: Id::from_uuid(agent),
        session_id: Id::from_uuid(session),
    }))
}

pub(super) fn into_sandboxes(rows: Vec<SandboxRow>) -> Result<Vec<Sandbox>, StorageError> {
    rows.into_iter().map(Sandbox::try_from).collect()
}
