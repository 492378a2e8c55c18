//! `POST /v1/environments/{environment_id}`

use actix_web::post;
use actix_web::web::{self, Data, Path};
use platform_core::environment::{
    Environment, EnvironmentConfigDraft, EnvironmentPatch, EnvironmentSettings,
};
use platform_core::id::EnvironmentId;
use platform_storage::{Connection, environment};

use crate::body::Json;
use crate::caller::Caller;
use crate::environments::{self, EnvironmentView};
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::sealer;

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
    let changed = platform.database.transaction(async |connection| {
        let found = environment::lock(connection, caller.team(), *id).await?;
        let before = found.ok_or_else(|| Problem::not_found("environment", *id))?;
        change(&platform, connection, before, body.0).await
    });
    Ok(web::Json(changed.await?.into()))
}

async fn change(
    platform: &Platform,
    connection: &mut Connection,
    before: Environment,
    mut patch: EnvironmentPatch,
) -> Result<Environment, Problem> {
    if before.archived_at.is_some() {
        let message = format!("environment {} is archived and cannot be changed", before.id);
        return Err(Problem::invalid(message).with_code("environment_archived"));
    }
    let variables = patch.config.as_mut().and_then(EnvironmentConfigDraft::take_variables);
    let settings = patch.apply_to(before.clone())?;
    let EnvironmentSettings { name, description, config, scope, metadata } = settings;
    let updated_at = platform.clock.now();
    let mut after =
        Environment { name, description, config, scope, metadata, updated_at, ..before };
    let sealed = environments::seal_variables(platform, &mut after, variables)?;
    sealer::write(connection, after.team_id, &sealed.secrets, &sealed.replaced).await?;
    environment::update(connection, &after).await?;
    Ok(after)
}
