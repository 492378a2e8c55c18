//! `/api/agents`

use actix_web::web::{self, Data, Path};
use actix_web::{HttpResponse, delete, get, patch, post};
use platform_core::agent::{AgentDraft, AgentPatch};
use platform_core::id::AgentId;

use super::SimpleList;
use crate::agents::{self, AgentView};
use crate::body::Json;
use crate::caller::Caller;
use crate::minting::Minting;
use crate::platform::Platform;
use crate::problem::Problem;
use crate::query::Query;

/// Creates an agent.
#[utoipa::path(tag = "simple", request_body = AgentDraft, responses((status = 201, body = AgentView)))]
#[post("/api/agents")]
pub async fn create_agent(
    caller: Caller,
    platform: Data<Platform>,
    minting: Minting,
    body: Json<AgentDraft>,
) -> Result<HttpResponse, Problem> {
    let agent = agents::create::create(caller, &platform, &minting, body.0).await?;
    Ok(HttpResponse::Created().json(AgentView::from(agent)))
}

/// Lists the team's agents.
#[utoipa::path(tag = "simple", params(
    ("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query),
), responses((status = 200, body = SimpleList<AgentView>)))]
#[get("/api/agents")]
pub async fn list_agents(
    caller: Caller,
    platform: Data<Platform>,
    query: Query,
) -> Result<web::Json<SimpleList<AgentView>>, Problem> {
    let (cursors, page) = agents::list::list(caller, &platform, query).await?;
    Ok(web::Json(cursors.list(page, AgentView::from).into()))
}

/// Shows an agent.
#[utoipa::path(tag = "simple", responses((status = 200, body = AgentView)))]
#[get("/api/agents/{agent_id}")]
pub async fn get_agent(
    caller: Caller,
    platform: Data<Platform>,
    id: Path<AgentId>,
) -> Result<web::Json<AgentView>, Problem> {
    let mut connection = platform.database.connection().await?;
    let agent = agents::find(&mut connection, caller.team(), *id, None).await?;
    Ok(web::Json(agent.into()))
}

/// Makes a new version of an agent.
#[utoipa::path(tag = "simple", request_body = AgentPatch, responses((status = 200, body = AgentView)))]
#[patch("/api/agents/{agent_id}")]
pub async fn update_agent(
    caller: Caller,
    platform: Data<Platform>,
    id: Path<AgentId>,
    body: Json<AgentPatch>,
) -> Result<web::Json<AgentView>, Problem> {
    let agent = agents::update::update(caller, &platform, *id, body.0).await?;
    Ok(web::Json(agent.into()))
}

/// Archives an agent.
#[utoipa::path(tag = "simple", responses((status = 204)))]
#[delete("/api/agents/{agent_id}")]
pub async fn archive_agent(
    caller: Caller,
    platform: Data<Platform>,
    id: Path<AgentId>,
) -> Result<HttpResponse, Problem> {
    agents::archive::archive(caller, &platform, *id).await?;
    Ok(HttpResponse::NoContent().finish())
}
