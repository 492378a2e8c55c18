//! `POST /v1/teams`

use actix_web::post;
use actix_web::web::{self, Data};
use platform_core::team::Team;
use platform_core::wire::check_length;
use platform_storage::{StorageError, team};
use serde::Deserialize;

use crate::body::Json;
use crate::caller::Administrator;
use crate::minting::Minting;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::teams::TeamView;

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTeamBody {
    /// Unique.
    name: String,
}

/// Creates a team. Administrator only.
#[utoipa::path(tag = "teams", request_body = CreateTeamBody, responses(
    (status = 200, body = TeamView),
    (status = 403, body = ErrorEnvelope),
    (status = 409, body = ErrorEnvelope, description = "Another team has the name"),
))]
#[post("/v1/teams")]
pub async fn create_team(
    _administrator: Administrator,
    platform: Data<Platform>,
    minting: Minting,
    body: Json<CreateTeamBody>,
) -> Result<web::Json<TeamView>, Problem> {
    let name = body.0.name;
    check_length("name", &name, 1, 255)?;
    let new = Team::new(minting.id("team"), name, platform.clock.now());
    let mut connection = platform.database.connection().await?;
    if minting.may_repeat()
        && let Some(made) = team::find(&mut connection, new.id).await?
    {
        return Ok(web::Json(made.into()));
    }
    match team::insert(&mut connection, &new).await {
        Ok(()) => Ok(web::Json(new.into())),
        Err(StorageError::AlreadyExists(_)) => {
            let message = format!("there is a team named {:?} already", new.name);
            Err(Problem::conflict(message).with_code("team_name_taken"))
        }
        Err(failure) => Err(failure.into()),
    }
}
