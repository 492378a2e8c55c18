//! `POST /v1/teams/{team_id}`

use std::time::Duration;

use actix_web::post;
use actix_web::web::{self, Data, Path};
use platform_core::budget::WireBudget;
use platform_core::id::TeamId;
use platform_core::network::HostPattern;
use platform_core::team::{Retention, Team};
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
const MAX_HOSTS: usize = 256;

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
    /// Hosts that its sandboxes may reach although their addresses are not public: names, addresses and `*.example.com`, alone or with
    /// `:port`. Replaced as a whole.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    internal_hosts: Change<Vec<String>>,
    /// What the model calls of all its sessions may cost; `null`: anything. Raised, it lets sessions go on that stand still for want of it.
    #[serde(default)]
    #[schema(value_type = Option<WireBudget>)]
    budget: Change<WireBudget>,
}

/// Changes how long a team's sessions are kept, what they may reach and what they may cost. Administrator only.
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
    let archive = after("archive_inactive_after_seconds", &body.0.archive_inactive_after_seconds)?;
    let delete = after("delete_archived_after_seconds", &body.0.delete_archived_after_seconds)?;
    let hosts = hosts(body.0.internal_hosts)?;
    let budget = match body.0.budget {
        Change::Keep => Change::Keep,
        Change::Clear => Change::Clear,
        Change::Set(budget) => Change::Set(budget.resolve()?),
    };
    let changed = platform.database.transaction(async |connection| {
        let Some(mut team) = team::lock(connection, *id).await? else { return Ok(None) };
        let Retention { archive_inactive_after, delete_archived_after } = team.retention;
        let retention = Retention {
            archive_inactive_after: archive.apply_to(archive_inactive_after),
            delete_archived_after: delete.apply_to(delete_archived_after),
        };
        team::set_retention(connection, *id, retention).await?;
        team.internal_hosts = hosts.or_default(team.internal_hosts);
        team::set_internal_hosts(connection, *id, &team.internal_hosts).await?;
        team.budget = budget.apply_to(team.budget);
        team::set_budget(connection, *id, team.budget).await?;
        Ok::<_, Problem>(Some(Team { retention, ..team }))
    });
    let changed = changed.await?.ok_or_else(|| Problem::not_found("team", *id))?;
    Ok(web::Json(changed.into()))
}

fn hosts(change: Change<Vec<String>>) -> Result<Change<Vec<HostPattern>>, InvalidField> {
    let hosts = match change {
        Change::Keep => return Ok(Change::Keep),
        Change::Clear => return Ok(Change::Clear),
        Change::Set(hosts) => hosts,
    };
    if hosts.len() > MAX_HOSTS {
        let problem = format!("at most {MAX_HOSTS} hosts are allowed");
        return Err(InvalidField::new("internal_hosts", problem));
    }
    let parse = |(index, host): (usize, &String)| {
        host.parse().map_err(|_| {
            let shown: String = host.chars().take(80).collect();
            let problem =
                format!("{shown:?} is no host name, address or *.example.com, alone or with :port");
            InvalidField::new(format!("internal_hosts[{index}]"), problem)
        })
    };
    hosts.iter().enumerate().map(parse).collect::<Result<_, _>>().map(Change::Set)
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
