//! `GET /v1/teams/{team_id}`

use actix_web::get;
use actix_web::web::{Data, Json, Path};
use platform_core::id::TeamId;
use platform_storage::team;

use crate::caller::Caller;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::teams::TeamView;

/// Shows a team: any to the administrator, its own to a team's key.
#[utoipa::path(tag = "teams", responses(
    (status = 200, body = TeamView),
    (status = 404, body = ErrorEnvelope),
))]
#[get("/v1/teams/{team_id}")]
pub async fn get_team(
    caller: Caller,
    platform: Data<Platform>,
    id: Path<TeamId>,
) -> Result<Json<TeamView>, Problem> {
    let unknown = || Problem::not_found("team", *id);
    if !caller.is_administrator() && caller.team() != *id {
        return Err(unknown());
    }
    let mut connection = platform.database.connection().await?;
    let found = team::find(&mut connection, *id).await?.ok_or_else(unknown)?;
    Ok(Json(found.into()))
}
