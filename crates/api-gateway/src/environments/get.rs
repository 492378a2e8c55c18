//! `GET /v1/environments/{environment_id}`

use actix_web::get;
use actix_web::web::{Data, Json, Path};
use platform_core::id::EnvironmentId;

use crate::caller::Caller;
use crate::environments::{self, EnvironmentView};
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};

/// Shows an environment.
#[utoipa::path(tag = "environments", responses(
    (status = 200, body = EnvironmentView),
    (status = 404, body = ErrorEnvelope),
))]
#[get("/v1/environments/{environment_id}")]
pub async fn get_environment(
    caller: Caller,
    platform: Data<Platform>,
    id: Path<EnvironmentId>,
) -> Result<Json<EnvironmentView>, Problem> {
    let mut connection = platform.database.connection().await?;
    let environment = environments::find(&mut connection, caller.team(), *id).await?;
    Ok(Json(environment.into()))
}
