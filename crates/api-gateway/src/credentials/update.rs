//! `POST /v1/vaults/{vault_id}/credentials/{credential_id}`

use actix_web::post;
use actix_web::web::{self, Data, Path};
use platform_core::credential::{ChangedAuth, Credential, CredentialPatch};
use platform_core::id::{CredentialId, SecretId, VaultId};
use platform_core::wire::{check_length, patch_metadata};
use platform_storage::{Connection, credential};

use crate::body::Json;
use crate::caller::Caller;
use crate::credentials::{self, CredentialView};
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::sealer::{self, Owner};

/// Changes a credential. Values that the change brings take the place of the former ones, which are removed; sessions use them at once.
#[utoipa::path(tag = "vaults", request_body = CredentialPatch, responses(
    (status = 200, body = CredentialView),
    (status = 400, body = ErrorEnvelope, description = "Also `credential_archived`"),
    (status = 404, body = ErrorEnvelope),
))]
#[post("/v1/vaults/{vault_id}/credentials/{credential_id}")]
pub async fn update_credential(
    caller: Caller,
    platform: Data<Platform>,
    path: Path<(VaultId, CredentialId)>,
    body: Json<CredentialPatch>,
) -> Result<web::Json<CredentialView>, Problem> {
    let (vault, id) = path.into_inner();
    let changed = platform.database.transaction(async |connection| {
        let locked = credential::lock(connection, caller.team(), id).await?;
        let before = locked
            .filter(|credential| credential.vault_id == vault)
            .ok_or_else(|| Problem::not_found("credential", id))?;
        credentials::check_living(&before)?;
        change(&platform, connection, before, body.0).await
    });
    Ok(web::Json(changed.await?.into()))
}

async fn change(
    platform: &Platform,
    connection: &mut Connection,
    before: Credential,
    patch: CredentialPatch,
) -> Result<Credential, Problem> {
    let now = platform.clock.now();
    let display_name = patch.display_name.empty_clears().apply_to(before.display_name);
    check_length("display_name", display_name.as_deref().unwrap_or(""), 0, 255)?;
    let metadata = patch_metadata(before.metadata, patch.metadata.unwrap_or_default())?;
    let former = before.auth.secrets();
    let ChangedAuth { auth, new_secrets } = match patch.auth {
        None => ChangedAuth { auth: before.auth, new_secrets: Vec::new() },
        Some(patch) => {
            let new_id = |_: &str| SecretId::mint(&*platform.ids);
            patch.apply_to(before.auth, display_name.as_deref(), now, new_id)?
        }
    };
    let kept = auth.secrets();
    let replaced: Vec<_> = former.into_iter().filter(|secret| !kept.contains(secret)).collect();
    let owner = Owner { team: before.team_id, id: before.id.uuid() };
    let secrets = platform.sealer.seal(owner, new_secrets, now)?;
    let after = Credential { display_name, metadata, auth, updated_at: now, ..before };
    sealer::write(connection, after.team_id, &secrets, &replaced).await?;
    credential::update(connection, &after).await?;
    Ok(after)
}
