//! `POST /v1/vaults/{vault_id}/credentials/{credential_id}/archive`

use actix_web::post;
use actix_web::web::{Data, Json, Path};
use platform_core::id::{CredentialId, VaultId};
use platform_storage::credential;

use crate::caller::Caller;
use crate::credentials::{self, CredentialView};
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};

/// Archives a credential for good: sessions use it no more, and its values are removed.
#[utoipa::path(tag = "vaults", responses(
    (status = 200, body = CredentialView),
    (status = 404, body = ErrorEnvelope),
))]
#[post("/v1/vaults/{vault_id}/credentials/{credential_id}/archive")]
pub async fn archive_credential(
    caller: Caller,
    platform: Data<Platform>,
    path: Path<(VaultId, CredentialId)>,
) -> Result<Json<CredentialView>, Problem> {
    let (vault, id) = path.into_inner();
    let (team, now) = (caller.team(), platform.clock.now());
    let archived = platform.database.transaction(async |connection| {
        credentials::find(connection, team, vault, id).await?;
        Ok::<_, Problem>(credential::archive(connection, team, vault, id, now).await?)
    });
    Ok(Json(archived.await?.into()))
}
