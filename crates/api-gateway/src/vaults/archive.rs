//! `POST /v1/vaults/{vault_id}/archive`

use actix_web::post;
use actix_web::web::{Data, Json, Path};
use platform_core::id::VaultId;
use platform_storage::vault;

use crate::caller::Caller;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::vaults::{self, VaultView};

/// Archives a vault and its credentials for good: sessions use them no more, and their values are removed.
#[utoipa::path(tag = "vaults", responses(
    (status = 200, body = VaultView),
    (status = 404, body = ErrorEnvelope),
))]
#[post("/v1/vaults/{vault_id}/archive")]
pub async fn archive_vault(
    caller: Caller,
    platform: Data<Platform>,
    id: Path<VaultId>,
) -> Result<Json<VaultView>, Problem> {
    let now = platform.clock.now();
    let archived = platform.database.transaction(async |connection| {
        vaults::find(connection, caller.team(), *id).await?;
        Ok::<_, Problem>(vault::archive(connection, caller.team(), *id, now).await?)
    });
    Ok(Json(archived.await?.into()))
}
