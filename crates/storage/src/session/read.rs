//! Finding sessions, and taking the lock under which one may change.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use platform_core::id::{AgentId, SessionId, TeamId};
use platform_core::session::{Session, SessionStatus};

use super::row::SessionRow;
use crate::schema::sessions;
use crate::{Connection, Cursor, Order, Page, PageRequest, StorageError, TimeRange};

/// Which of a team's sessions a list shows. The default shows all that are not archived.
#[derive(Debug, Clone, Default)]
pub struct SessionFilter {
    pub agent_id: Option<AgentId>,
    pub agent_version: Option<i32>,
    /// Empty: every status.
    pub statuses: Vec<SessionStatus>,
    pub created: TimeRange,
    pub context: Option<String>,
    pub include_archived: bool,
}

pub async fn find(
    connection: &mut Connection,
    team: TeamId,
    session: SessionId,
) -> Result<Option<Session>, StorageError> {
    SessionRow::query()
        .filter(sessions::team_id.eq(team.uuid()))
        .filter(sessions::id.eq(session.uuid()))
        .first(connection)
        .await
        .optional()?
        .map(Session::try_from)
        .transpose()
}

/// The one live session of this agent that has the context.
pub async fn find_live_by_context(
    connection: &mut Connection,
    team: TeamId,
    agent: AgentId,
    context: &str,
) -> Result<Option<Session>, StorageError> {
    SessionRow::query()
        .filter(sessions::team_id.eq(team.uuid()))
        .filter(sessions::agent_id.eq(agent.uuid()))
        .filter(sessions::context.eq(context))
        .filter(sessions::archived_at.is_null())
        .filter(sessions::status.ne(SessionStatus::Terminated.as_word()))
        .first(connection)
        .await
        .optional()?
        .map(Session::try_from)
        .transpose()
}

/// Takes the session's row lock, which lasts until the transaction ends, and reads the session as it stands under it.
pub async fn lock(
    mut connection: &Connection,
    team: TeamId,
    session: SessionId,
) -> Result<Option<Session>, StorageError> {
    SessionRow::query()
        .filter(sessions::team_id.eq(team.uuid()))
        .filter(sessions::id.eq(session.uuid()))
        .for_no_key_update()
        .first(&mut connection)
        .await
        .optional()?
        .map(Session::try_from)
        .transpose()
}

pub async fn list(
    connection: &mut Connection,
    team: TeamId,
    filter: &SessionFilter,
    request: PageRequest,
) -> Result<Page<Session>, StorageError> {
    let mut query = SessionRow::query().filter(sessions::team_id.eq(team.uuid())).into_boxed();
    if let Some(agent) = filter.agent_id {
        query = query.filter(sessions::agent_id.eq(agent.uuid()));
    }
    if let Some(version) = filter.agent_version {
        query = query.filter(sessions::agent_version.eq(version));
    }
    if !filter.statuses.is_empty() {
        let words: Vec<_> = filter.statuses.iter().map(|status| status.as_word()).collect();
        query = query.filter(sessions::status.eq_any(words));
    }
    if let Some(context) = &filter.context {
        query = query.filter(sessions::context.eq(context));
    }
    if !filter.include_archived {
        query = query.filter(sessions::archived_at.is_null());
    }
    if let Some(bound) = filter.created.after {
        query = query.filter(sessions::created_at.gt(bound));
    }
    if let Some(bound) = filter.created.from {
        query = query.filter(sessions::created_at.ge(bound));
    }
    if let Some(bound) = filter.created.before {
        query = query.filter(sessions::created_at.lt(bound));
    }
    if let Some(bound) = filter.created.until {
        query = query.filter(sessions::created_at.le(bound));
    }
    let walk = request.walk();
    query = match walk.order {
        Order::NewestFirst => query.order((sessions::created_at.desc(), sessions::id.desc())),
        Order::OldestFirst => query.order((sessions::created_at.asc(), sessions::id.asc())),
    };
    if let Some(Cursor { created_at, id }) = walk.past {
        // The first condition of each follows from the second; from it the index knows where to begin.
        query = match walk.order {
            Order::NewestFirst => query
                .filter(sessions::created_at.le(created_at))
                .filter(sessions::created_at.lt(created_at).or(sessions::id.lt(id))),
            Order::OldestFirst => query
                .filter(sessions::created_at.ge(created_at))
                .filter(sessions::created_at.gt(created_at).or(sessions::id.gt(id))),
        };
    }
    let rows = query.limit(walk.limit).load::<SessionRow>(connection).await?;
    let met = rows.into_iter().map(Session::try_from).collect::<Result<Vec<_>, _>>()?;
    Ok(walk.page(met, |session| Cursor { created_at: session.created_at, id: session.id.uuid() }))
}
