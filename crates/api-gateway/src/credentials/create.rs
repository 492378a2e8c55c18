//! `POST /v1/vaults/{vault_id}/credentials`

use actix_web::post;
use actix_web::web::{self, Data, Path};
use platform_core::credential::{ChangedAuth, Credential, CredentialDraft};
use platform_core::id::{SecretId, VaultId};
use platform_core::wire::{check_length, check_metadata};
use platform_storage::credential;

use crate::body::Json;
use crate::caller::Caller;
use crate::credentials::CredentialView;
use crate::minting::Minting;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::sealer::{self, Owner};
use crate::vaults;

/// Creates a credential. Its values are sealed, and never shown again.
#[utoipa::path(tag = "vaults", request_body = CredentialDraft, responses(
    (status = 200, body = CredentialView),
    (status = 400, body = ErrorEnvelope, description = "Also `vault_archived`"),
    (status = 404, body = ErrorEnvelope),
))]
#[post("/v1/vaults/{vault_id}/credentials")]
pub async fn create_credential(
    caller: Caller,
    platform: Data<Platform>,
    minting: Minting,
    vault: Path<VaultId>,
    body: Json<CredentialDraft>,
) -> Result<web::Json<CredentialView>, Problem> {
    let CredentialDraft { auth, display_name, metadata } = body.0;
    let display_name = display_name.filter(|name| !name.is_empty());
    check_length("display_name", display_name.as_deref().unwrap_or(""), 0, 255)?;
    let metadata = metadata.unwrap_or_default();
    check_metadata(&metadata)?;
    let now = platform.clock.now();
    let new_id = |_: &str| SecretId::mint(&*platform.ids);
    let ChangedAuth { auth, new_secrets } = auth.resolve(display_name.as_deref(), now, new_id)?;
    let new = Credential {
        id: minting.id("credential"),
        team_id: caller.team(),
        vault_id: *vault,
        display_name,
        auth,
        metadata,
        created_at: now,
        updated_at: now,
        archived_at: None,
    };
    let owner = Owner { team: new.team_id, id: new.id.uuid() };
    let secrets = platform.sealer.seal(owner, new_secrets, now)?;
    let stored = platform.database.transaction(async |connection| {
        let vault = vaults::lock(connection, new.team_id, new.vault_id).await?;
        if minting.may_repeat()
            && let Some(made) = credential::find(connection, new.team_id, vault.id, new.id).await?
        {
            return Ok(made);
        }
        sealer::write(connection, new.team_id, &secrets, &[]).await?;
        credential::insert(connection, &new).await?;
        Ok::<_, Problem>(new)
    });
    Ok(web::Json(stored.await?.into()))
}
