//! `DELETE /v1/sandboxes/{sandbox_id}`

use actix_web::web::{Data, Path};
use actix_web::{HttpResponse, delete};
use platform_core::id::SandboxId;
use platform_core::sandbox::SandboxState;
use serde::Serialize;

use crate::caller::Caller;
use crate::minting::Minting;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::sandboxes;

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SandboxDeleted {
    id: SandboxId,
    /// Always `sandbox_deleted`.
    r#type: &'static str,
}

/// Kills a sandbox. Its session goes on: a turn under way is taken up in a new sandbox on the same workspace.
#[utoipa::path(tag = "sandboxes", responses(
    (status = 200, body = SandboxDeleted, description = "It was gone already"),
    (status = 202, body = SandboxDeleted, description = "It will be gone shortly"),
    (status = 404, body = ErrorEnvelope),
))]
#[delete("/v1/sandboxes/{sandbox_id}")]
pub async fn kill_sandbox(
    caller: Caller,
    platform: Data<Platform>,
    minting: Minting,
    id: Path<SandboxId>,
) -> Result<HttpResponse, Problem> {
    let mut connection = platform.database.connection().await?;
    let sandbox = sandboxes::find(&mut connection, caller.team(), *id).await?;
    drop(connection);
    let deleted = SandboxDeleted { id: *id, r#type: "sandbox_deleted" };
    if sandbox.state == SandboxState::Gone {
        return Ok(HttpResponse::Ok().json(deleted));
    }
    let (session, epoch) = (sandbox.session_id, sandbox.epoch);
    let command = minting.command_id();
    platform.commands.stop_sandbox(command, caller.team(), *id, session, epoch).await?;
    Ok(HttpResponse::Accepted().json(deleted))
}
