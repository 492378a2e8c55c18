//! `POST /v1/environments/{environment_id}`

use actix_web::post;
use actix_web::web::{self, Data, Path};
use platform_core::environment::{Environment, EnvironmentPatch, EnvironmentSettings};
use platform_core::id::EnvironmentId;
use platform_storage::environment;

use crate::body::Json;
use crate::caller::Caller;
use crate::environments::{self, EnvironmentView};
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};

/// Changes an environment. Sessions see the change with their next sandbox.
#[utoipa::path(tag = "environments", request_body = EnvironmentPatch, responses(
    (status = 200, body = EnvironmentView),
    (status = 400, body = ErrorEnvelope),
    (status = 404, body = ErrorEnvelope),
))]
#[post("/v1/environments/{environment_id}")]
pub async fn update_environment(
    caller: Caller,
    platform: Data<Platform>,
    id: Path<EnvironmentId>,
    body: Json<EnvironmentPatch>,
) -> Result<web::Json<EnvironmentView>, Problem> {
    let mut connection = platform.database.connection().await?;
    let before = environments::find(&mut connection, caller.team(), *id).await?;
    if before.archived_at.is_some() {
        let message = format!("environment {id} is archived and cannot be changed");
        return Err(Problem::invalid(message).with_code("environment_archived"));
    }
    let settings = body.0.apply_to(before.clone())?;
    let EnvironmentSettings { name, description, config, scope, metadata } = settings;
    let updated_at = platform.clock.now();
    let after = Environment { name, description, config, scope, metadata, updated_at, ..before };
    environment::update(&mut connection, &after).await?;
    Ok(web::Json(after.into()))
}
