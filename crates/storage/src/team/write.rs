//! Creating and changing teams.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use platform_core::budget::{Budget, NanoDollars};
use platform_core::id::TeamId;
use platform_core::network::HostPattern;
use platform_core::team::{DEFAULT_TEAM, Retention, Team};

use super::read;
use super::row::{TeamRow, to_seconds};
use crate::column::{to_bigint, to_json};
use crate::schema::teams;
use crate::{Connection, StorageError};

/// `AlreadyExists` when another team has the name.
pub async fn insert(connection: &mut Connection, team: &Team) -> Result<(), StorageError> {
    diesel::insert_into(teams::table).values(TeamRow::try_from(team)?).execute(connection).await?;
    Ok(())
}

/// Changes when the team's sessions go away by themselves.
pub async fn set_retention(
    connection: &mut Connection,
    team: TeamId,
    retention: Retention,
) -> Result<(), StorageError> {
    diesel::update(teams::table.find(team.uuid()))
        .set((
            teams::archive_inactive_after_seconds.eq(to_seconds(retention.archive_inactive_after)),
            teams::delete_archived_after_seconds.eq(to_seconds(retention.delete_archived_after)),
        ))
        .execute(connection)
        .await?;
    Ok(())
}

/// Changes which hosts the team's sandboxes may reach although their addresses are not public.
pub async fn set_internal_hosts(
    connection: &mut Connection,
    team: TeamId,
    hosts: &[HostPattern],
) -> Result<(), StorageError> {
    let hosts = to_json("teams.internal_hosts", &hosts)?;
    diesel::update(teams::table.find(team.uuid()))
        .set(teams::internal_hosts.eq(hosts))
        .execute(connection)
        .await?;
    Ok(())
}

/// Changes what the model calls of all sessions may cost.
pub async fn set_budget(
    connection: &mut Connection,
    team: TeamId,
    budget: Option<Budget>,
) -> Result<(), StorageError> {
    let budget = budget.map(|budget| to_bigint(budget.max_cost.0));
    diesel::update(teams::table.find(team.uuid()))
        .set(teams::budget_nano_usd.eq(budget))
        .execute(connection)
        .await?;
    Ok(())
}

/// Counts what a model call cost.
pub async fn add_spent(
    mut connection: &Connection,
    team: TeamId,
    cost: NanoDollars,
) -> Result<(), StorageError> {
    diesel::update(teams::table.find(team.uuid()))
        .set(teams::spent_nano_usd.eq(teams::spent_nano_usd + to_bigint(cost.0)))
        .execute(&mut connection)
        .await?;
    Ok(())
}

/// The team in which the administrator acts when none is named; stored as `id` if it does not exist yet.
pub async fn ensure_default(
    connection: &mut Connection,
    id: TeamId,
    now: DateTime<Utc>,
) -> Result<Team, StorageError> {
    if let Some(team) = read::find_by_name(connection, DEFAULT_TEAM).await? {
        return Ok(team);
    }
    let team = Team::new(id, DEFAULT_TEAM.to_owned(), now);
    diesel::insert_into(teams::table)
        .values(TeamRow::try_from(&team)?)
        .on_conflict_do_nothing()
        .execute(connection)
        .await?;
    read::find_by_name(connection, DEFAULT_TEAM).await?.ok_or(StorageError::NotFound("team"))
}
