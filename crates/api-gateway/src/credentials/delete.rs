//! `DELETE /v1/vaults/{vault_id}/credentials/{credential_id}`

use actix_web::delete;
use actix_web::web::{Data, Json, Path};
use platform_core::id::{CredentialId, VaultId};
use platform_storage::credential;
use serde::Serialize;

use crate::caller::Caller;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CredentialDeleted {
    id: CredentialId,
    /// Always `vault_credential_deleted`.
    r#type: &'static str,
}

/// Deletes a credential with its values.
#[utoipa::path(tag = "vaults", responses(
    (status = 200, body = CredentialDeleted),
    (status = 404, body = ErrorEnvelope),
))]
#[delete("/v1/vaults/{vault_id}/credentials/{credential_id}")]
pub async fn delete_credential(
    caller: Caller,
    platform: Data<Platform>,
    path: Path<(VaultId, CredentialId)>,
) -> Result<Json<CredentialDeleted>, Problem> {
    let (vault, id) = path.into_inner();
    let deleted = platform.database.transaction(async |connection| {
        credential::delete(connection, caller.team(), vault, id).await
    });
    if deleted.await? {
        Ok(Json(CredentialDeleted { id, r#type: "vault_credential_deleted" }))
    } else {
        Err(Problem::not_found("credential", id))
    }
}
