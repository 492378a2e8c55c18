//! `POST /v1/environments`

use actix_web::post;
use actix_web::web::{self, Data};
use platform_core::environment::{
    Environment, EnvironmentConfigDraft, EnvironmentDraft, EnvironmentSettings,
};
use platform_core::id::EnvironmentId;
use platform_storage::environment;

use crate::body::Json;
use crate::caller::Caller;
use crate::environments::{self, EnvironmentView};
use crate::minting::Minting;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::sealer;

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
    let mut draft = body.0;
    let variables = draft.config.as_mut().and_then(EnvironmentConfigDraft::take_variables);
    let mut new = environment(caller, &platform, minting.id("environment"), draft.resolve()?);
    let sealed = environments::seal_variables(&platform, &mut new, variables)?;
    let stored = platform.database.transaction(async |connection| {
        if minting.may_repeat()
            && let Some(made) = environment::find(connection, new.team_id, new.id).await?
        {
            return Ok(made);
        }
        sealer::write(connection, new.team_id, &sealed.secrets, &sealed.replaced).await?;
        environment::insert(connection, &new).await?;
        Ok::<_, Problem>(new)
    });
    Ok(web::Json(stored.await?.into()))
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
