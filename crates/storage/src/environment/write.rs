//! Creating, changing and removing environments.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel_async::{AsyncConnection, RunQueryDsl};
use platform_core::environment::Environment;
use platform_core::id::{EnvironmentId, TeamId};

use super::read;
use super::row::EnvironmentRow;
use crate::schema::{environments, teams};
use crate::{Connection, StorageError};

pub async fn insert(
    connection: &mut Connection,
    environment: &Environment,
) -> Result<(), StorageError> {
    diesel::insert_into(environments::table)
        .values(EnvironmentRow::try_from(environment)?)
        .execute(connection)
        .await?;
    Ok(())
}

/// The team's environment of this name, stored first if there is none. However many ask at once, one is stored.
pub async fn find_or_insert_by_name(
    connection: &mut Connection,
    environment: &Environment,
) -> Result<Environment, StorageError> {
    let team = environment.team_id;
    if let Some(found) = read::find_by_name(connection, team, &environment.name).await? {
        return Ok(found);
    }
    connection
        .transaction(async |connection| {
            // The team's row serves as the lock: names alone do not keep two apart.
            teams::table
                .find(team.uuid())
                .select(teams::id)
                .for_no_key_update()
                .execute(connection)
                .await?;
            if let Some(found) = read::find_by_name(connection, team, &environment.name).await? {
                return Ok(found);
            }
            insert(connection, environment).await?;
            Ok(environment.clone())
        })
        .await
}

/// Writes the environment as it now is. Sessions see the change with their next sandbox.
pub async fn update(
    connection: &mut Connection,
    environment: &Environment,
) -> Result<(), StorageError> {
    let updated = diesel::update(environments::table)
        .filter(environments::team_id.eq(environment.team_id.uuid()))
        .filter(environments::id.eq(environment.id.uuid()))
        .set(EnvironmentRow::try_from(environment)?)
        .execute(connection)
        .await?;
    if updated == 1 { Ok(()) } else { Err(StorageError::NotFound("environment")) }
}

/// Archiving twice keeps the first time.
pub async fn archive(
    connection: &mut Connection,
    team: TeamId,
    environment: EnvironmentId,
    now: DateTime<Utc>,
) -> Result<Environment, StorageError> {
    diesel::update(environments::table)
        .filter(environments::team_id.eq(team.uuid()))
        .filter(environments::id.eq(environment.uuid()))
        .filter(environments::archived_at.is_null())
        .set((environments::archived_at.eq(now), environments::updated_at.eq(now)))
        .execute(connection)
        .await?;
    read::find(connection, team, environment).await?.ok_or(StorageError::NotFound("environment"))
}

/// Removes the environment; `InUse` while a session, archived or not, refers to it. Answers whether it existed.
pub async fn delete(
    connection: &mut Connection,
    team: TeamId,
    environment: EnvironmentId,
) -> Result<bool, StorageError> {
    let deleted = diesel::delete(environments::table)
        .filter(environments::team_id.eq(team.uuid()))
        .filter(environments::id.eq(environment.uuid()))
        .execute(connection)
        .await;
    match deleted {
        Ok(deleted) => Ok(deleted == 1),
        Err(DieselError::DatabaseError(DatabaseErrorKind::ForeignKeyViolation, _)) => {
            Err(StorageError::InUse("session"))
        }
        Err(error) => Err(error.into()),
    }
}
