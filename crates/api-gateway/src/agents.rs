//! Agents: versioned definitions.

pub mod archive;
pub mod create;
pub mod get;
pub mod list;
pub mod update;
pub mod versions;

use chrono::{DateTime, Utc};
use platform_core::agent::{Agent, AgentDefinition};
use platform_core::id::{AgentId, SecretId, TeamId};
use platform_core::variable::VariablesDraft;
use platform_core::wire::InvalidField;
use platform_storage::secret::StoredSecret;
use platform_storage::{Connection, agent};
use serde::Serialize;

use crate::caller::Caller;
use crate::platform::Platform;
use crate::problem::Problem;
use crate::sealer::Owner;

/// An agent as the API shows it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AgentView {
    id: AgentId,
    /// Always `agent`.
    r#type: &'static str,
    version: i32,
    #[serde(flatten)]
    definition: AgentDefinition,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    archived_at: Option<DateTime<Utc>>,
}

impl From<Agent> for AgentView {
    fn from(agent: Agent) -> Self {
        Self {
            id: agent.id,
            r#type: "agent",
            version: agent.version,
            definition: agent.definition,
            created_at: agent.created_at,
            updated_at: agent.updated_at,
            archived_at: agent.archived_at,
        }
    }
}

/// The agent at a version, or at its latest.
pub async fn find(
    connection: &mut Connection,
    team: TeamId,
    id: AgentId,
    version: Option<i32>,
) -> Result<Agent, Problem> {
    let found = agent::find(connection, team, id, version).await?;
    found.ok_or_else(|| match version {
        None => Problem::not_found("agent", id),
        Some(version) => Problem::not_found("agent", format!("{id} of version {version}")),
    })
}

/// Applies to the definition what a request says of its variables; answers the secrets that are to be written with it.
///
/// Those that it replaces stay: earlier versions, and the sessions that pinned them, still use them.
pub fn seal_variables(
    platform: &Platform,
    caller: Caller,
    id: AgentId,
    definition: &mut AgentDefinition,
    draft: Option<VariablesDraft>,
) -> Result<Vec<StoredSecret>, Problem> {
    let owner = Owner { team: caller.team(), id: id.uuid() };
    let before = std::mem::take(&mut definition.environment_variables);
    let new_id = |_: &str| SecretId::mint(&*platform.ids);
    let sealed = platform.sealer.variables(owner, draft, before, platform.clock.now(), new_id)?;
    definition.environment_variables = sealed.variables;
    Ok(sealed.secrets)
}

/// Refuses a definition that no sandbox could run. While LiteLLM cannot be asked its models pass, and the first turn tells.
pub async fn check_runnable(
    platform: &Platform,
    definition: &AgentDefinition,
) -> Result<(), Problem> {
    platform.harnesses.check(&definition.harness)?;
    let model = &definition.model.id;
    let Some(Err(served)) = platform.models.serves(model).await else { return Ok(()) };
    let problem = format!("LiteLLM serves no model {model:?}; it serves: {}", served.join(", "));
    Err(InvalidField::new("model", problem).into())
}
