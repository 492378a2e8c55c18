//! `GET /v1/teams`

use actix_web::get;
use actix_web::web::{Data, Json};
use platform_storage::{Order, team};

use crate::caller::Caller;
use crate::cursor::{Cursors, List};
use crate::platform::Platform;
use crate::problem::Problem;
use crate::query::Query;
use crate::teams::TeamView;

/// Lists the teams: all of them for the administrator, its own for a team's key.
#[utoipa::path(tag = "teams", params(
    ("limit" = Option<u32>, Query), ("page" = Option<String>, Query),
), responses((status = 200, body = List<TeamView>)))]
#[get("/v1/teams")]
pub async fn list_teams(
    caller: Caller,
    platform: Data<Platform>,
    mut query: Query,
) -> Result<Json<List<TeamView>>, Problem> {
    let cursors = Cursors::of(caller.team(), &mut query)?;
    let request = cursors.page_request(Order::OldestFirst, query.limit(20, 1000)?)?;
    query.finish()?;
    let mut connection = platform.database.connection().await?;
    if caller.is_administrator() {
        let page = team::list(&mut connection, request).await?;
        return Ok(Json(cursors.list(page, TeamView::from)));
    }
    let own = team::find(&mut connection, caller.team()).await?;
    Ok(Json(List { data: own.into_iter().map(TeamView::from).collect(), next_page: None }))
}
