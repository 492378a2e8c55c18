//! `GET /v1/environments`

use actix_web::get;
use actix_web::web::{Data, Json};
use platform_storage::Order;
use platform_storage::environment::{self, EnvironmentFilter};

use crate::caller::Caller;
use crate::cursor::{Cursors, List};
use crate::environments::EnvironmentView;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::query::Query;

/// Lists the team's environments, newest first.
#[utoipa::path(tag = "environments", params(
    ("created_at[gte]" = Option<String>, Query), ("created_at[lte]" = Option<String>, Query),
    ("include_archived" = Option<bool>, Query),
    ("limit" = Option<u32>, Query), ("page" = Option<String>, Query),
), responses((status = 200, body = List<EnvironmentView>), (status = 400, body = ErrorEnvelope)))]
#[get("/v1/environments")]
pub async fn list_environments(
    caller: Caller,
    platform: Data<Platform>,
    mut query: Query,
) -> Result<Json<List<EnvironmentView>>, Problem> {
    let cursors = Cursors::of(caller.team(), &mut query)?;
    let filter = EnvironmentFilter {
        created: query.range("created_at")?,
        include_archived: query.flag("include_archived")?,
    };
    let request = cursors.page_request(Order::NewestFirst, query.limit(20, 1000)?)?;
    query.finish()?;
    let mut connection = platform.database.connection().await?;
    let page = environment::list(&mut connection, caller.team(), &filter, request).await?;
    Ok(Json(cursors.list(page, EnvironmentView::from)))
}
