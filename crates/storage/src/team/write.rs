//! Creating and changing teams.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use platform_core::id::TeamId;
use platform_core::team::{DEFAULT_TEAM, Retention, Team};

use super::read;
use super::row::{TeamRow, to_seconds};
use crate::schema::teams;
use crate::{Connection, StorageError};

/// `AlreadyExists` when another team has the name.
pub async fn insert(connection: &mut Connection, team: &Team) -> Result<(), StorageError> {
    diesel::insert_into(teams::table).values(TeamRow::from(team)).execute(connection).await?;
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

/// The team in which the administrator acts when none is named; stored as `id` if it does not exist yet.
pub async fn ensure_default(
    connection: &mut Connection,
    id: TeamId,
    now: DateTime<Utc>,
) -> Result<Team, StorageError> {
    if let Some(team) = read::find_by_name(connection, DEFAULT_TEAM).await? {
        return Ok(team);
    }
    let team = Team {
        id,
        name: DEFAULT_TEAM.to_owned(),
        retention: Retention::default(),
        created_at: now,
    };
    diesel::insert_into(teams::table)
        .values(TeamRow::from(&team))
        .on_conflict_do_nothing()
        .execute(connection)
        .await?;
    read::find_by_name(connection, DEFAULT_TEAM).await?.ok_or(StorageError::NotFound("team"))
}
