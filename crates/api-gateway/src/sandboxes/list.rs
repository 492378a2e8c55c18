//! `GET /v1/sandboxes`

use actix_web::get;
use actix_web::web::{Data, Json};
use platform_storage::{Order, sandbox};

use crate::caller::Caller;
use crate::cursor::{Cursors, List};
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::query::Query;
use crate::sandboxes::SandboxView;

/// Lists the team's sandboxes, newest first, those that are gone too.
#[utoipa::path(tag = "sandboxes", params(
    ("session_id" = Option<String>, Query),
    ("limit" = Option<u32>, Query), ("page" = Option<String>, Query),
), responses((status = 200, body = List<SandboxView>), (status = 400, body = ErrorEnvelope)))]
#[get("/v1/sandboxes")]
pub async fn list_sandboxes(
    caller: Caller,
    platform: Data<Platform>,
    mut query: Query,
) -> Result<Json<List<SandboxView>>, Problem> {
    let cursors = Cursors::of(caller.team(), &mut query)?;
    let session = query.parsed("session_id")?;
    let request = cursors.page_request(Order::NewestFirst, query.limit(20, 1000)?)?;
    query.finish()?;
    let mut connection = platform.database.connection().await?;
    let page = sandbox::list(&mut connection, caller.team(), session, request).await?;
    Ok(Json(cursors.list(page, SandboxView::from)))
}
