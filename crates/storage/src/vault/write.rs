//! Creating, changing and removing vaults.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use platform_core::credential::Vault;
use platform_core::id::{TeamId, VaultId};

use super::read;
use super::row::VaultRow;
use crate::schema::vaults;
use crate::{Connection, StorageError, credential};

pub async fn insert(connection: &mut Connection, vault: &Vault) -> Result<(), StorageError> {
    let row = VaultRow::try_from(vault)?;
    diesel::insert_into(vaults::table).values(row).execute(connection).await?;
    Ok(())
}

/// Writes the vault as it now is.
pub async fn update(connection: &mut Connection, vault: &Vault) -> Result<(), StorageError> {
    let updated = diesel::update(vaults::table)
        .filter(vaults::team_id.eq(vault.team_id.uuid()))
        .filter(vaults::id.eq(vault.id.uuid()))
        .set(VaultRow::try_from(vault)?)
        .execute(connection)
        .await?;
    if updated == 1 { Ok(()) } else { Err(StorageError::NotFound("vault")) }
}

/// Archives the vault and its credentials; their values are removed, because archiving cannot be undone. Archiving twice keeps the
/// first time. Runs in the caller's transaction.
pub async fn archive(
    connection: &mut Connection,
    team: TeamId,
    vault: VaultId,
    now: DateTime<Utc>,
) -> Result<Vault, StorageError> {
    diesel::update(vaults::table)
        .filter(vaults::team_id.eq(team.uuid()))
        .filter(vaults::id.eq(vault.uuid()))
        .filter(vaults::archived_at.is_null())
        .set((vaults::archived_at.eq(now), vaults::updated_at.eq(now)))
        .execute(connection)
        .await?;
    credential::archive_all(connection, team, vault, now).await?;
    read::find(connection, team, vault).await?.ok_or(StorageError::NotFound("vault"))
}

/// Removes the vault with its credentials and their values. Answers whether it existed. Runs in the caller's transaction.
pub async fn delete(
    connection: &mut Connection,
    team: TeamId,
    vault: VaultId,
) -> Result<bool, StorageError> {
    credential::forget_values(connection, team, vault).await?;
    let deleted = diesel::delete(vaults::table)
        .filter(vaults::team_id.eq(team.uuid()))
        .filter(vaults::id.eq(vault.uuid()))
        .execute(connection)
        .await?;
    Ok(deleted == 1)
}
