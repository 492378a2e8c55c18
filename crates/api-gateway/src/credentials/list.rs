//! `GET /v1/vaults/{vault_id}/credentials`

use actix_web::get;
use actix_web::web::{Data, Json, Path};
use platform_core::id::VaultId;
use platform_storage::{Order, credential};

use crate::caller::Caller;
use crate::credentials::CredentialView;
use crate::cursor::{Cursors, List};
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::query::Query;
use crate::vaults;

/// Lists a vault's credentials without their values, newest first.
#[utoipa::path(tag = "vaults", params(
    ("include_archived" = Option<bool>, Query),
    ("limit" = Option<u32>, Query), ("page" = Option<String>, Query),
), responses(
    (status = 200, body = List<CredentialView>),
    (status = 400, body = ErrorEnvelope),
    (status = 404, body = ErrorEnvelope),
))]
#[get("/v1/vaults/{vault_id}/credentials")]
pub async fn list_credentials(
    caller: Caller,
    platform: Data<Platform>,
    vault: Path<VaultId>,
    mut query: Query,
) -> Result<Json<List<CredentialView>>, Problem> {
    let team = caller.team();
    let cursors = Cursors::of(team, &mut query)?;
    let include_archived = query.flag("include_archived")?;
    let request = cursors.page_request(Order::NewestFirst, query.limit(20, 100)?)?;
    query.finish()?;
    let mut connection = platform.database.connection().await?;
    vaults::find(&mut connection, team, *vault).await?;
    let page = credential::list(&mut connection, team, *vault, include_archived, request).await?;
    Ok(Json(cursors.list(page, CredentialView::from)))
}
