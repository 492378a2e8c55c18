//! `POST /v1/vaults`

use actix_web::post;
use actix_web::web::{self, Data};
use platform_core::credential::{Vault, VaultDraft};
use platform_storage::vault;

use crate::body::Json;
use crate::caller::Caller;
use crate::minting::Minting;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::vaults::VaultView;

/// Creates a vault.
#[utoipa::path(tag = "vaults", request_body = VaultDraft, responses(
    (status = 200, body = VaultView),
    (status = 400, body = ErrorEnvelope),
))]
#[post("/v1/vaults")]
pub async fn create_vault(
    caller: Caller,
    platform: Data<Platform>,
    minting: Minting,
    body: Json<VaultDraft>,
) -> Result<web::Json<VaultView>, Problem> {
    let (display_name, metadata) = body.0.resolve()?;
    let now = platform.clock.now();
    let new = Vault {
        id: minting.id("vault"),
        team_id: caller.team(),
        display_name,
        metadata,
        created_at: now,
        updated_at: now,
        archived_at: None,
    };
    let mut connection = platform.database.connection().await?;
    if minting.may_repeat()
        && let Some(made) = vault::find(&mut connection, caller.team(), new.id).await?
    {
        return Ok(web::Json(made.into()));
    }
    vault::insert(&mut connection, &new).await?;
    Ok(web::Json(new.into()))
}
