//! `POST /v1/agents/{agent_id}/archive`

use actix_web::post;
use actix_web::web::{Data, Json, Path};
use platform_core::agent::Agent;
use platform_core::id::AgentId;
use platform_storage::agent;

use crate::agents::{self, AgentView};
use crate::caller::Caller;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};

/// Archives an agent: no new sessions, hidden from lists. Its sessions go on.
#[utoipa::path(tag = "agents", responses(
    (status = 200, body = AgentView),
    (status = 404, body = ErrorEnvelope),
))]
#[post("/v1/agents/{agent_id}/archive")]
pub async fn archive_agent(
    caller: Caller,
    platform: Data<Platform>,
    id: Path<AgentId>,
) -> Result<Json<AgentView>, Problem> {
    archive(caller, &platform, *id).await.map(|agent| Json(agent.into()))
}

pub async fn archive(caller: Caller, platform: &Platform, id: AgentId) -> Result<Agent, Problem> {
    let mut connection = platform.database.connection().await?;
    agents::find(&mut connection, caller.team(), id, None).await?;
    let now = platform.clock.now();
    Ok(agent::archive(&mut connection, caller.team(), id, now).await?)
}
