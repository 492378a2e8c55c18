//! `GET /v1/agents`

use actix_web::get;
use actix_web::web::{Data, Json};
use platform_core::agent::Agent;
use platform_storage::agent::{self, AgentFilter};
use platform_storage::{Order, Page};

use crate::agents::AgentView;
use crate::caller::Caller;
use crate::cursor::{Cursors, List};
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::query::Query;

/// Lists the team's agents, newest first, each at its latest version.
#[utoipa::path(tag = "agents", params(
    ("created_at[gte]" = Option<String>, Query), ("created_at[lte]" = Option<String>, Query),
    ("include_archived" = Option<bool>, Query),
    ("limit" = Option<u32>, Query), ("page" = Option<String>, Query),
), responses((status = 200, body = List<AgentView>), (status = 400, body = ErrorEnvelope)))]
#[get("/v1/agents")]
pub async fn list_agents(
    caller: Caller,
    platform: Data<Platform>,
    query: Query,
) -> Result<Json<List<AgentView>>, Problem> {
    let (cursors, page) = list(caller, &platform, query).await?;
    Ok(Json(cursors.list(page, AgentView::from)))
}

pub async fn list(
    caller: Caller,
    platform: &Platform,
    mut query: Query,
) -> Result<(Cursors, Page<Agent>), Problem> {
    let cursors = Cursors::of(caller.team(), &mut query)?;
    let filter = AgentFilter {
        created: query.range("created_at")?,
        include_archived: query.flag("include_archived")?,
    };
    let request = cursors.page_request(Order::NewestFirst, query.limit(20, 1000)?)?;
    query.finish()?;
    let mut connection = platform.database.connection().await?;
    let page = agent::list(&mut connection, caller.team(), &filter, request).await?;
    Ok((cursors, page))
}
