//! `GET /v1/vaults/{vault_id}/credentials/{credential_id}`

use actix_web::get;
use actix_web::web::{Data, Json, Path};
use platform_core::id::{CredentialId, VaultId};

use crate::caller::Caller;
use crate::credentials::{self, CredentialView};
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};

/// Shows a credential without its values.
#[utoipa::path(tag = "vaults", responses(
    (status = 200, body = CredentialView),
    (status = 404, body = ErrorEnvelope),
))]
#[get("/v1/vaults/{vault_id}/credentials/{credential_id}")]
pub async fn get_credential(
    caller: Caller,
    platform: Data<Platform>,
    path: Path<(VaultId, CredentialId)>,
) -> Result<Json<CredentialView>, Problem> {
    let (vault, id) = path.into_inner();
    let mut connection = platform.database.connection().await?;
    let credential = credentials::find(&mut connection, caller.team(), vault, id).await?;
    Ok(Json(credential.into()))
}
