//! `POST /v1/vaults/{vault_id}/credentials/{credential_id}/mcp_oauth_validate`

use actix_web::post;
use actix_web::web::{Data, Json, Path};
use platform_core::credential::CredentialAuth;
use platform_core::id::{CredentialId, VaultId};
use platform_messaging::proto::egress::ValidateCredential;
use platform_messaging::proto::egress::egress_command::Action;
use platform_messaging::proto::egress::egress_reply::Outcome;
use serde_json::Value;

use crate::caller::Caller;
use crate::commands::egress;
use crate::credentials;
use crate::minting::Minting;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};

/// Tries an `mcp_oauth` credential at its MCP server, and renews it if it can be renewed and has to be.
#[utoipa::path(tag = "vaults", responses(
    (status = 200, body = Value, description = "A `vault_credential_validation`: `status` is valid, invalid or unknown"),
    (status = 400, body = ErrorEnvelope, description = "The credential is of another type or archived"),
    (status = 404, body = ErrorEnvelope),
    (status = 503, body = ErrorEnvelope),
))]
#[post("/v1/vaults/{vault_id}/credentials/{credential_id}/mcp_oauth_validate")]
pub async fn validate_credential(
    caller: Caller,
    platform: Data<Platform>,
    minting: Minting,
    path: Path<(VaultId, CredentialId)>,
) -> Result<Json<Value>, Problem> {
    let (vault, id) = path.into_inner();
    let mut connection = platform.database.connection().await?;
    let credential = credentials::find(&mut connection, caller.team(), vault, id).await?;
    drop(connection);
    credentials::check_living(&credential)?;
    match credential.auth {
        CredentialAuth::McpOauth { .. } => {}
        CredentialAuth::EnvironmentVariable { .. } | CredentialAuth::StaticBearer { .. } => {
            let message = "only credentials of type mcp_oauth can be validated";
            return Err(Problem::invalid(message));
        }
    }
    let action = Action::ValidateCredential(ValidateCredential {
        team_id: caller.team().uuid().to_string(),
        vault_id: vault.uuid().to_string(),
        credential_id: id.uuid().to_string(),
    });
    match platform.commands.ask_way_out(minting.command_id(), action).await? {
        Outcome::CredentialValidated(validated) => serde_json::from_slice(&validated.validation)
            .map(Json)
            .map_err(|failure| egress::unreadable().caused_by(failure)),
        Outcome::Opened(_) | Outcome::Bound(_) | Outcome::PolicyChecked(_) => {
            Err(egress::unreadable())
        }
    }
}
