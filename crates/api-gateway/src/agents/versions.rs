//! `GET /v1/agents/{agent_id}/versions`

use actix_web::get;
use actix_web::web::{Data, Json, Path};
use platform_core::id::AgentId;
use platform_storage::agent;

use crate::agents::{self, AgentView};
use crate::caller::Caller;
use crate::cursor::{Cursors, List};
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::query::Query;

/// Lists the versions of an agent, newest first.
#[utoipa::path(tag = "agents", params(
    ("limit" = Option<u32>, Query), ("page" = Option<String>, Query),
), responses((status = 200, body = List<AgentView>), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/agents/{agent_id}/versions")]
pub async fn list_agent_versions(
    caller: Caller,
    platform: Data<Platform>,
    id: Path<AgentId>,
    mut query: Query,
) -> Result<Json<List<AgentView>>, Problem> {
    let cursors = Cursors::of(caller.team(), &mut query)?;
    let limit = query.limit(20, 1000)?;
    let below: Option<i32> = cursors.place()?;
    query.finish()?;
    let mut connection = platform.database.connection().await?;
    agents::find(&mut connection, caller.team(), *id, None).await?;
    let versions = agent::list_versions(&mut connection, caller.team(), *id, below, limit).await?;
    let is_full = u32::try_from(versions.len()) == Ok(limit);
    let last = versions.last().map(|agent| agent.version).filter(|version| *version > 1);
    let next_page = last.filter(|_| is_full).map(|version| cursors.seal(version));
    Ok(Json(List { data: versions.into_iter().map(AgentView::from).collect(), next_page }))
}
