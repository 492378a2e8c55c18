//! `DELETE /v1/vaults/{vault_id}`

use actix_web::delete;
use actix_web::web::{Data, Json, Path};
use platform_core::id::VaultId;
use platform_storage::vault;
use serde::Serialize;

use crate::caller::Caller;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct VaultDeleted {
    id: VaultId,
    /// Always `vault_deleted`.
    r#type: &'static str,
}

/// Deletes a vault with its credentials and their values.
#[utoipa::path(tag = "vaults", responses(
    (status = 200, body = VaultDeleted),
    (status = 404, body = ErrorEnvelope),
))]
#[delete("/v1/vaults/{vault_id}")]
pub async fn delete_vault(
    caller: Caller,
    platform: Data<Platform>,
    id: Path<VaultId>,
) -> Result<Json<VaultDeleted>, Problem> {
    let deleted = platform
        .database
        .transaction(async |connection| vault::delete(connection, caller.team(), *id).await);
    if deleted.await? {
        Ok(Json(VaultDeleted { id: *id, r#type: "vault_deleted" }))
    } else {
        Err(Problem::not_found("vault", *id))
    }
}
