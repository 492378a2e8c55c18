//! `POST /v1/environments`

use actix_web::post;
use actix_web::web::{self, Data};
use platform_core::environment::{Environment, EnvironmentDraft, EnvironmentSettings};
use platform_core::id::EnvironmentId;
use platform_storage::environment;

use crate::body::Json;
use crate::caller::Caller;
use crate::environments::EnvironmentView;
use crate::minting::Minting;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};

/// Creates an environment.
#[utoipa::path(tag = "environments", request_body = EnvironmentDraft, responses(
    (status = 200, body = EnvironmentView),
    (status = 400, body = ErrorEnvelope),
))]
#[post("/v1/environments")]
pub async fn create_environment(
    caller: Caller,
    platform: Data<Platform>,
    minting: Minting,
    body: Json<EnvironmentDraft>,
) -> Result<web::Json<EnvironmentView>, Problem> {
    let new = environment(caller, &platform, minting.id("environment"), body.0.resolve()?);
    let mut connection = platform.database.connection().await?;
    if minting.may_repeat()
        && let Some(made) = environment::find(&mut connection, caller.team(), new.id).await?
    {
        return Ok(web::Json(made.into()));
    }
    environment::insert(&mut connection, &new).await?;
    Ok(web::Json(new.into()))
}

/// An environment that does not exist yet.
pub fn environment(
    caller: Caller,
    platform: &Platform,
    id: EnvironmentId,
    settings: EnvironmentSettings,
) -> Environment {
    let now = platform.clock.now();
    let EnvironmentSettings { name, description, config, scope, metadata } = settings;
    Environment {
        id,
        team_id: caller.team(),
        name,
        description,
        config,
        scope,
        metadata,
        created_at: now,
        updated_at: now,
        archived_at: None,
    }
}
