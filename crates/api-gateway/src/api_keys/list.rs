//! `GET /v1/api_keys`

use actix_web::get;
use actix_web::web::{Data, Json};
use platform_core::id::TeamId;
use platform_storage::{Order, api_key};

use crate::api_keys::ApiKeyView;
use crate::caller::Caller;
use crate::cursor::{Cursors, List};
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::query::Query;

/// Lists a team's keys, newest first. The administrator may name the team.
#[utoipa::path(tag = "api_keys", params(
    ("team_id" = Option<String>, Query),
    ("limit" = Option<u32>, Query), ("page" = Option<String>, Query),
), responses((status = 200, body = List<ApiKeyView>), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/api_keys")]
pub async fn list_api_keys(
    caller: Caller,
    platform: Data<Platform>,
    mut query: Query,
) -> Result<Json<List<ApiKeyView>>, Problem> {
    let cursors = Cursors::of(caller.team(), &mut query)?;
    let team = query.parsed::<TeamId>("team_id")?.unwrap_or(caller.team());
    if team != caller.team() && !caller.is_administrator() {
        return Err(Problem::not_found("team", team));
    }
    let request = cursors.page_request(Order::NewestFirst, query.limit(20, 1000)?)?;
    query.finish()?;
    let mut connection = platform.database.connection().await?;
    let page = api_key::list(&mut connection, team, request).await?;
    Ok(Json(cursors.list(page, ApiKeyView::from)))
}
