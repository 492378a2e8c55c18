//! Rows of `agents` and `agent_versions`, which together make one version of an agent.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use platform_core::agent::{Agent, AgentDefinition};
use platform_core::id::{AgentId, Id, TeamId};
use serde_json::Value;
use uuid::Uuid;

use crate::StorageError;
use crate::column::{from_json, to_json};
use crate::schema::{agent_versions, agents};

#[derive(HasQuery, Insertable)]
#[diesel(table_name = agents)]
pub(super) struct AgentRow {
    pub(super) id: Uuid,
    pub(super) team_id: Uuid,
    pub(super) latest_version: i32,
    pub(super) created_at: DateTime<Utc>,
    pub(super) updated_at: DateTime<Utc>,
    pub(super) archived_at: Option<DateTime<Utc>>,
}

#[derive(HasQuery, Insertable)]
#[diesel(table_name = agent_versions)]
pub(super) struct VersionRow {
    agent_id: Uuid,
    team_id: Uuid,
    version: i32,
    definition: Value,
    created_at: DateTime<Utc>,
}

/// One version together with its agent.
#[derive(HasQuery)]
#[diesel(table_name = agents)]
#[diesel(base_query = agents::table.inner_join(agent_versions::table.on(agent_versions::agent_id.eq(agents::id))))]
pub(super) struct AgentWithVersion {
    #[diesel(embed)]
    agent: AgentRow,
    #[diesel(embed)]
    version: VersionRow,
}

impl VersionRow {
    pub(super) fn new(
        team: TeamId,
        agent: AgentId,
        version: i32,
        definition: &AgentDefinition,
        at: DateTime<Utc>,
    ) -> Result<Self, StorageError> {
        Ok(Self {
            agent_id: agent.uuid(),
            team_id: team.uuid(),
            version,
            definition: to_json("agent_versions.definition", definition)?,
            created_at: at,
        })
    }
}

impl TryFrom<AgentWithVersion> for Agent {
    type Error = StorageError;

    fn try_from(row: AgentWithVersion) -> Result<Self, StorageError> {
        let AgentWithVersion { agent, version } = row;
        // An old version was last changed when it came to be.
        let is_latest = version.version == agent.latest_version;
        let updated_at = if is_latest { agent.updated_at } else { version.created_at };
        Ok(Self {
            id: Id::from_uuid(agent.id),
            team_id: Id::from_uuid(agent.team_id),
            version: version.version,
            definition: from_json("agent_versions.definition", version.definition)?,
            created_at: agent.created_at,
            updated_at,
            archived_at: agent.archived_at,
        })
    }
}
