//! `GET /v1/sandboxes/{sandbox_id}`

use actix_web::get;
use actix_web::web::{Data, Json, Path};
use platform_core::id::SandboxId;

use crate::caller::Caller;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::sandboxes::{self, SandboxView};

/// Shows a sandbox.
#[utoipa::path(tag = "sandboxes", responses(
    (status = 200, body = SandboxView),
    (status = 404, body = ErrorEnvelope),
))]
#[get("/v1/sandboxes/{sandbox_id}")]
pub async fn get_sandbox(
    caller: Caller,
    platform: Data<Platform>,
    id: Path<SandboxId>,
) -> Result<Json<SandboxView>, Problem> {
    let mut connection = platform.database.connection().await?;
    let sandbox = sandboxes::find(&mut connection, caller.team(), *id).await?;
    Ok(Json(sandbox.into()))
}
