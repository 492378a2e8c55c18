//! Creating agents, adding versions, archiving.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncConnection, RunQueryDsl};
use platform_core::agent::{Agent, AgentDefinition};
use platform_core::id::{AgentId, TeamId};

use super::read;
use super::row::{AgentRow, VersionRow};
use crate::schema::{agent_versions, agents};
use crate::{Connection, StorageError};

/// Stores a new agent with its first version.
pub async fn insert(connection: &mut Connection, agent: &Agent) -> Result<(), StorageError> {
    let row = AgentRow {
        id: agent.id.uuid(),
        team_id: agent.team_id.uuid(),
        latest_version: agent.version,
        created_at: agent.created_at,
        updated_at: agent.updated_at,
        archived_at: agent.archived_at,
    };
    let Agent { id, team_id, version, definition, created_at, .. } = agent;
    let version = VersionRow::new(*team_id, *id, *version, definition, *created_at)?;
    connection
        .transaction(async |connection| {
            diesel::insert_into(agents::table).values(row).execute(connection).await?;
            diesel::insert_into(agent_versions::table).values(version).execute(connection).await?;
            Ok(())
        })
        .await
}

/// Adds a version with this definition.
///
/// `StaleVersion` when `expected` is not the latest version, so that of two who change the same version one hears of it.
pub async fn update(
    connection: &mut Connection,
    team: TeamId,
    agent: AgentId,
    expected: Option<i32>,
    definition: &AgentDefinition,
    now: DateTime<Utc>,
) -> Result<Agent, StorageError> {
    connection
        .transaction(async |connection| {
            let current: i32 = agents::table
                .filter(agents::team_id.eq(team.uuid()))
                .filter(agents::id.eq(agent.uuid()))
                .select(agents::latest_version)
                .for_no_key_update()
                .first(connection)
                .await
                .optional()?
                .ok_or(StorageError::NotFound("agent"))?;
            if expected.is_some_and(|expected| expected != current) {
                return Err(StorageError::StaleVersion { current });
            }
            let next = current.saturating_add(1);
            let version = VersionRow::new(team, agent, next, definition, now)?;
            diesel::insert_into(agent_versions::table).values(version).execute(connection).await?;
            diesel::update(agents::table.find(agent.uuid()))
                .set((agents::latest_version.eq(next), agents::updated_at.eq(now)))
                .execute(connection)
                .await?;
            read::find(connection, team, agent, None).await?.ok_or(StorageError::NotFound("agent"))
        })
        .await
}

/// Archiving twice keeps the first time.
pub async fn archive(
    connection: &mut Connection,
    team: TeamId,
    agent: AgentId,
    now: DateTime<Utc>,
) -> Result<Agent, StorageError> {
    diesel::update(agents::table)
        .filter(agents::team_id.eq(team.uuid()))
        .filter(agents::id.eq(agent.uuid()))
        .filter(agents::archived_at.is_null())
        .set((agents::archived_at.eq(now), agents::updated_at.eq(now)))
        .execute(connection)
        .await?;
    read::find(connection, team, agent, None).await?.ok_or(StorageError::NotFound("agent"))
}
