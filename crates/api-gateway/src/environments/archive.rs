//! `POST /v1/environments/{environment_id}/archive`

use actix_web::post;
use actix_web::web::{Data, Json, Path};
use platform_core::id::EnvironmentId;
use platform_storage::environment;

use crate::caller::Caller;
use crate::environments::{self, EnvironmentView};
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};

/// Archives an environment: no new sessions, hidden from lists.
#[utoipa::path(tag = "environments", responses(
    (status = 200, body = EnvironmentView),
    (status = 404, body = ErrorEnvelope),
))]
#[post("/v1/environments/{environment_id}/archive")]
pub async fn archive_environment(
    caller: Caller,
    platform: Data<Platform>,
    id: Path<EnvironmentId>,
) -> Result<Json<EnvironmentView>, Problem> {
    let mut connection = platform.database.connection().await?;
    environments::find(&mut connection, caller.team(), *id).await?;
    let now = platform.clock.now();
    let archived = environment::archive(&mut connection, caller.team(), *id, now).await?;
    Ok(Json(archived.into()))
}
