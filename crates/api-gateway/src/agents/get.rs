//! `GET /v1/agents/{agent_id}`

use actix_web::get;
use actix_web::web::{Data, Json, Path};
use platform_core::id::AgentId;

use crate::agents::{self, AgentView};
use crate::caller::Caller;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::query::Query;

/// Shows an agent, at its latest version unless another is named.
#[utoipa::path(tag = "agents", params(("version" = Option<i32>, Query)), responses(
    (status = 200, body = AgentView),
    (status = 404, body = ErrorEnvelope),
))]
#[get("/v1/agents/{agent_id}")]
pub async fn get_agent(
    caller: Caller,
    platform: Data<Platform>,
    id: Path<AgentId>,
    mut query: Query,
) -> Result<Json<AgentView>, Problem> {
    let version = query.parsed("version")?;
    query.finish()?;
    if version.is_some_and(|version| version < 1) {
        return Err(Problem::invalid("version: versions start at 1"));
    }
    let mut connection = platform.database.connection().await?;
    let agent = agents::find(&mut connection, caller.team(), *id, version).await?;
    Ok(Json(agent.into()))
}
