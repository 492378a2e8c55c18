//! `GET /v1/vaults/{vault_id}`

use actix_web::get;
use actix_web::web::{Data, Json, Path};
use platform_core::id::VaultId;

use crate::caller::Caller;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::vaults::{self, VaultView};

/// Shows a vault.
#[utoipa::path(tag = "vaults", responses(
    (status = 200, body = VaultView),
    (status = 404, body = ErrorEnvelope),
))]
#[get("/v1/vaults/{vault_id}")]
pub async fn get_vault(
    caller: Caller,
    platform: Data<Platform>,
    id: Path<VaultId>,
) -> Result<Json<VaultView>, Problem> {
    let mut connection = platform.database.connection().await?;
    let vault = vaults::find(&mut connection, caller.team(), *id).await?;
    Ok(Json(vault.into()))
}
