//! `POST /v1/teams/{team_id}`

use std::time::Duration;

use actix_web::post;
use actix_web::web::{self, Data, Path};
use platform_core::id::TeamId;
use platform_core::team::Retention;
use platform_core::wire::{Change, InvalidField};
use platform_storage::team;
use serde::Deserialize;

use crate::body::Json;
use crate::caller::Administrator;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::teams::TeamView;

/// A hundred years.
const LONGEST: u64 = 100 * 365 * 24 * 60 * 60;

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateTeamBody {
    /// Sessions that nobody used for this long are archived; `null`: never.
    #[serde(default)]
    #[schema(value_type = Option<u64>, minimum = 1)]
    archive_inactive_after_seconds: Change<u64>,
    /// Sessions that were archived this long ago are deleted; `null`: never.
    #[serde(default)]
    #[schema(value_type = Option<u64>, minimum = 1)]
    delete_archived_after_seconds: Change<u64>,
}

/// Changes how long a team's sessions are kept. Administrator only.
#[utoipa::path(tag = "teams", request_body = UpdateTeamBody, responses(
    (status = 200, body = TeamView),
    (status = 400, body = ErrorEnvelope),
    (status = 403, body = ErrorEnvelope),
    (status = 404, body = ErrorEnvelope),
))]
#[post("/v1/teams/{team_id}")]
pub async fn update_team(
    _administrator: Administrator,
    platform: Data<Platform>,
    id: Path<TeamId>,
    body: Json<UpdateTeamBody>,
) -> Result<web::Json<TeamView>, Problem> {
    let UpdateTeamBody { archive_inactive_after_seconds, delete_archived_after_seconds } = body.0;
    let archive = after("archive_inactive_after_seconds", &archive_inactive_after_seconds)?;
    let delete = after("delete_archived_after_seconds", &delete_archived_after_seconds)?;
    let changed = platform.database.transaction(async |connection| {
        let Some(team) = team::lock(connection, *id).await? else { return Ok(None) };
        let Retention { archive_inactive_after, delete_archived_after } = team.retention;
        let retention = Retention {
            archive_inactive_after: archive.apply_to(archive_inactive_after),
            delete_archived_after: delete.apply_to(delete_archived_after),
        };
        team::set_retention(connection, *id, retention).await?;
        Ok::<_, Problem>(Some(platform_core::team::Team { retention, ..team }))
    });
    let changed = changed.await?.ok_or_else(|| Problem::not_found("team", *id))?;
    Ok(web::Json(changed.into()))
}

fn after(field: &str, change: &Change<u64>) -> Result<Change<Duration>, InvalidField> {
    match *change {
        Change::Keep => Ok(Change::Keep),
        Change::Clear => Ok(Change::Clear),
        Change::Set(seconds) if (1..=LONGEST).contains(&seconds) => {
            Ok(Change::Set(Duration::from_secs(seconds)))
        }
        Change::Set(seconds) => {
            let problem = format!("{seconds} is not from 1 to {LONGEST}; null means never");
            Err(InvalidField::new(field, problem))
        }
    }
}
