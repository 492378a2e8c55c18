//! `DELETE /v1/environments/{environment_id}`

use actix_web::delete;
use actix_web::web::{Data, Json, Path};
use platform_core::id::EnvironmentId;
use platform_storage::{StorageError, environment, secret};
use serde::Serialize;

use crate::caller::Caller;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct EnvironmentDeleted {
    id: EnvironmentId,
    /// Always `environment_deleted`.
    r#type: &'static str,
}

/// Deletes an environment that no session uses.
#[utoipa::path(tag = "environments", responses(
    (status = 200, body = EnvironmentDeleted),
    (status = 404, body = ErrorEnvelope),
    (status = 409, body = ErrorEnvelope, description = "Sessions use it; archive it instead"),
))]
#[delete("/v1/environments/{environment_id}")]
pub async fn delete_environment(
    caller: Caller,
    platform: Data<Platform>,
    id: Path<EnvironmentId>,
) -> Result<Json<EnvironmentDeleted>, Problem> {
    let deleted = platform.database.transaction(async |connection| {
        let existed = environment::delete(connection, caller.team(), *id).await?;
        secret::delete_of(connection, caller.team(), id.uuid()).await?;
        Ok::<_, StorageError>(existed)
    });
    match deleted.await {
        Ok(true) => Ok(Json(EnvironmentDeleted { id: *id, r#type: "environment_deleted" })),
        Ok(false) => Err(Problem::not_found("environment", *id)),
        Err(StorageError::InUse(_)) => {
            let message = format!("sessions still use environment {id}; archive it instead");
            Err(Problem::conflict(message).with_code("environment_in_use"))
        }
        Err(failure) => Err(failure.into()),
    }
}
