//! `GET /v1/vaults`

use actix_web::get;
use actix_web::web::{Data, Json};
use platform_storage::{Order, vault};

use crate::caller::Caller;
use crate::cursor::{Cursors, List};
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::query::Query;
use crate::vaults::VaultView;

/// Lists the team's vaults, newest first.
#[utoipa::path(tag = "vaults", params(
    ("include_archived" = Option<bool>, Query),
    ("limit" = Option<u32>, Query), ("page" = Option<String>, Query),
), responses((status = 200, body = List<VaultView>), (status = 400, body = ErrorEnvelope)))]
#[get("/v1/vaults")]
pub async fn list_vaults(
    caller: Caller,
    platform: Data<Platform>,
    mut query: Query,
) -> Result<Json<List<VaultView>>, Problem> {
    let cursors = Cursors::of(caller.team(), &mut query)?;
    let include_archived = query.flag("include_archived")?;
    let request = cursors.page_request(Order::NewestFirst, query.limit(20, 100)?)?;
    query.finish()?;
    let mut connection = platform.database.connection().await?;
    let page = vault::list(&mut connection, caller.team(), include_archived, request).await?;
    Ok(Json(cursors.list(page, VaultView::from)))
}
