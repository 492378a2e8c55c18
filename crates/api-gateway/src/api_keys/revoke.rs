//! `DELETE /v1/api_keys/{api_key_id}`

use actix_web::delete;
use actix_web::web::{Data, Json, Path};
use platform_core::failure::{Failure, FailureKind};
use platform_core::id::{ApiKeyId, TeamId};
use platform_storage::api_key;

use crate::api_keys::ApiKeyView;
use crate::caller::Administrator;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::query::Query;

/// Revokes a key for good; streams that it opened end within 5 seconds. Administrator only.
#[utoipa::path(tag = "api_keys", params(("team_id" = Option<String>, Query)), responses(
    (status = 200, body = ApiKeyView),
    (status = 403, body = ErrorEnvelope),
    (status = 404, body = ErrorEnvelope),
))]
#[delete("/v1/api_keys/{api_key_id}")]
pub async fn revoke_api_key(
    _administrator: Administrator,
    platform: Data<Platform>,
    id: Path<ApiKeyId>,
    mut query: Query,
) -> Result<Json<ApiKeyView>, Problem> {
    let named = query.parsed::<TeamId>("team_id")?;
    query.finish()?;
    let mut connection = platform.database.connection().await?;
    let team = match named {
        Some(team) => Some(team),
        None => api_key::team_of(&mut connection, *id).await?,
    };
    let unknown = || Problem::not_found("api_key", *id);
    let now = platform.clock.now();
    match api_key::revoke(&mut connection, team.ok_or_else(unknown)?, *id, now).await {
        Ok(key) => Ok(Json(key.into())),
        Err(failure) if failure.kind() == FailureKind::NotFound => Err(unknown()),
        Err(failure) => Err(failure.into()),
    }
}
