//! `POST /v1/sessions/{session_id}`

use actix_web::web::{Data, Path};
use actix_web::{HttpResponse, post};
use platform_core::agent::{McpServer, ToolDraft, check_mcp_servers, resolve_tools};
use platform_core::budget::WireBudget;
use platform_core::id::SessionId;
use platform_core::session::{Session, SessionPatch};
use platform_core::wire::{Change, MetadataPatch, check_length, patch_metadata};
use platform_messaging::proto::session::UpdateSession;
use platform_messaging::proto::session::session_command::Action;
use serde::Deserialize;
use serde_json::Value;

use crate::body::Json;
use crate::caller::Caller;
use crate::commands::Sent;
use crate::events::incoming;
use crate::minting::Minting;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::sessions::{self, SessionView};

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateSessionBody {
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    title: Change<String>,
    /// By key: a text sets, `null` deletes.
    #[serde(default)]
    #[schema(value_type = Option<BTreeMap<String, Option<String>>>)]
    metadata: Option<MetadataPatch>,
    #[serde(default)]
    agent: Option<SessionAgentPatch>,
    /// Fixed for the session's life.
    #[serde(default)]
    vault_ids: Option<Value>,
    /// Takes the place of the one that was given when the session was opened; not below what is spent. `null` takes it away for good.
    #[serde(default)]
    #[schema(value_type = Option<WireBudget>)]
    budget: Change<WireBudget>,
}

/// What can be changed of a session's agent. Each list is replaced as a whole.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionAgentPatch {
    #[serde(default)]
    #[schema(value_type = Option<Vec<ToolDraft>>)]
    tools: Change<Vec<ToolDraft>>,
    #[serde(default)]
    #[schema(value_type = Option<Vec<McpServer>>)]
    mcp_servers: Change<Vec<McpServer>>,
}

/// Changes a session. The change counts from the next turn.
#[utoipa::path(tag = "sessions", request_body = UpdateSessionBody, responses(
    (status = 200, body = SessionView),
    (status = 202, body = SessionView, description = "The change will be there shortly"),
    (status = 400, body = ErrorEnvelope),
    (status = 404, body = ErrorEnvelope),
))]
#[post("/v1/sessions/{session_id}")]
pub async fn update_session(
    caller: Caller,
    platform: Data<Platform>,
    minting: Minting,
    id: Path<SessionId>,
    body: Json<UpdateSessionBody>,
) -> Result<HttpResponse, Problem> {
    let mut connection = platform.database.connection().await?;
    let session = sessions::find(&mut connection, caller.team(), *id).await?;
    drop(connection);
    let patch = body.0.resolve(&session)?;
    let action = Action::Update(UpdateSession { patch: incoming::to_json(&patch)? });
    let sent = platform.commands.send(minting.command_id(), caller.team(), *id, action).await?;
    let view = sessions::get::read(caller, &platform, *id).await?;
    Ok(match sent {
        Sent::Answered(_) => HttpResponse::Ok().json(view),
        Sent::Taken => HttpResponse::Accepted().json(view),
    })
}

impl UpdateSessionBody {
    fn resolve(self, session: &Session) -> Result<SessionPatch, Problem> {
        if self.vault_ids.is_some() {
            return Err(Problem::invalid("vault_ids: these are fixed when a session is opened"));
        }
        let budget = match self.budget {
            Change::Keep => None,
            Change::Clear => Some(None),
            Change::Set(budget) => Some(Some(budget.resolve()?)),
        };
        if let Change::Set(title) = &self.title {
            check_length("title", title, 0, 512)?;
        }
        let metadata = self.metadata.unwrap_or_default();
        patch_metadata(session.metadata.clone(), metadata.clone())?;
        let (tools, mcp_servers) = match self.agent {
            None => (None, None),
            Some(agent) => agent.resolve(session)?,
        };
        let title = match self.title.empty_clears() {
            Change::Keep => None,
            Change::Clear => Some(None),
            Change::Set(title) => Some(Some(title)),
        };
        Ok(SessionPatch { title, metadata, tools, mcp_servers, budget })
    }
}

type AgentLists = (Option<Vec<platform_core::agent::Tool>>, Option<Vec<McpServer>>);

impl SessionAgentPatch {
    fn resolve(self, session: &Session) -> Result<AgentLists, Problem> {
        let tools = match self.tools {
            Change::Keep => None,
            Change::Clear => Some(Vec::new()),
            Change::Set(drafts) => Some(resolve_tools(drafts)?),
        };
        let mcp_servers = match self.mcp_servers {
            Change::Keep => None,
            Change::Clear => Some(Vec::new()),
            Change::Set(servers) => Some(servers),
        };
        let now = &session.agent.definition;
        check_mcp_servers(
            mcp_servers.as_ref().unwrap_or(&now.mcp_servers),
            tools.as_ref().unwrap_or(&now.tools),
        )?;
        Ok((tools, mcp_servers))
    }
}
