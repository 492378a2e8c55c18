//! `POST /v1/vaults/{vault_id}`

use actix_web::post;
use actix_web::web::{self, Data, Path};
use platform_core::credential::{Vault, VaultPatch};
use platform_core::id::VaultId;
use platform_storage::vault;

use crate::body::Json;
use crate::caller::Caller;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::vaults::{self, VaultView};

/// Changes a vault's name and metadata.
#[utoipa::path(tag = "vaults", request_body = VaultPatch, responses(
    (status = 200, body = VaultView),
    (status = 400, body = ErrorEnvelope, description = "Also `vault_archived`"),
    (status = 404, body = ErrorEnvelope),
))]
#[post("/v1/vaults/{vault_id}")]
pub async fn update_vault(
    caller: Caller,
    platform: Data<Platform>,
    id: Path<VaultId>,
    body: Json<VaultPatch>,
) -> Result<web::Json<VaultView>, Problem> {
    let updated_at = platform.clock.now();
    let changed = platform.database.transaction(async |connection| {
        let before = vaults::lock(connection, caller.team(), *id).await?;
        let after = Vault { updated_at, ..body.0.apply_to(before)? };
        vault::update(connection, &after).await?;
        Ok::<_, Problem>(after)
    });
    Ok(web::Json(changed.await?.into()))
}
