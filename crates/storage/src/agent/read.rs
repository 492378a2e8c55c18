//! Finding agents and their versions.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use platform_core::agent::Agent;
use platform_core::id::{AgentId, TeamId};

use super::row::AgentWithVersion;
use crate::schema::{agent_versions, agents};
use crate::{Connection, Cursor, Order, Page, PageRequest, StorageError, TimeRange};

/// Which of a team's agents a list shows. The default shows all that are not archived.
#[derive(Debug, Clone, Default)]
pub struct AgentFilter {
    pub created: TimeRange,
    pub include_archived: bool,
}

/// The agent at `version`, or at its latest.
pub async fn find(
    connection: &mut Connection,
    team: TeamId,
    agent: AgentId,
    version: Option<i32>,
) -> Result<Option<Agent>, StorageError> {
    let mut query = AgentWithVersion::query()
        .filter(agents::team_id.eq(team.uuid()))
        .filter(agents::id.eq(agent.uuid()))
        .into_boxed();
    query = match version {
        Some(version) => query.filter(agent_versions::version.eq(version)),
        None => query.filter(agent_versions::version.eq(agents::latest_version)),
    };
    query.first(connection).await.optional()?.map(Agent::try_from).transpose()
}

/// A team's agents, each at its latest version.
pub async fn list(
    connection: &mut Connection,
    team: TeamId,
    filter: &AgentFilter,
    request: PageRequest,
) -> Result<Page<Agent>, StorageError> {
    let mut query = AgentWithVersion::query()
        .filter(agents::team_id.eq(team.uuid()))
        .filter(agent_versions::version.eq(agents::latest_version))
        .into_boxed();
    if !filter.include_archived {
        query = query.filter(agents::archived_at.is_null());
    }
    if let Some(bound) = filter.created.after {
        query = query.filter(agents::created_at.gt(bound));
    }
    if let Some(bound) = filter.created.from {
        query = query.filter(agents::created_at.ge(bound));
    }
    if let Some(bound) = filter.created.before {
        query = query.filter(agents::created_at.lt(bound));
    }
    if let Some(bound) = filter.created.until {
        query = query.filter(agents::created_at.le(bound));
    }
    let walk = request.walk();
    query = match walk.order {
        Order::NewestFirst => query.order((agents::created_at.desc(), agents::id.desc())),
        Order::OldestFirst => query.order((agents::created_at.asc(), agents::id.asc())),
    };
    if let Some(Cursor { created_at, id }) = walk.past {
        // As in `session/read.rs`: the first condition tells the index where to begin.
        query = match walk.order {
            Order::NewestFirst => query
                .filter(agents::created_at.le(created_at))
                .filter(agents::created_at.lt(created_at).or(agents::id.lt(id))),
            Order::OldestFirst => query
                .filter(agents::created_at.ge(created_at))
                .filter(agents::created_at.gt(created_at).or(agents::id.gt(id))),
        };
    }
    let met = into_agents(query.limit(walk.limit).load(connection).await?)?;
    Ok(walk.page(met, |agent| Cursor { created_at: agent.created_at, id: agent.id.uuid() }))
}

/// The agent's versions, newest first; with `below`, only those that came before that version.
pub async fn list_versions(
    connection: &mut Connection,
    team: TeamId,
    agent: AgentId,
    below: Option<i32>,
    limit: u32,
) -> Result<Vec<Agent>, StorageError> {
    let mut query = AgentWithVersion::query()
        .filter(agents::team_id.eq(team.uuid()))
        .filter(agents::id.eq(agent.uuid()))
        .order(agent_versions::version.desc())
        .limit(i64::from(limit))
        .into_boxed();
    if let Some(version) = below {
        query = query.filter(agent_versions::version.lt(version));
    }
    into_agents(query.load(connection).await?)
}

fn into_agents(rows: Vec<AgentWithVersion>) -> Result<Vec<Agent>, StorageError> {
    rows.into_iter().map(Agent::try_from).collect()
}
