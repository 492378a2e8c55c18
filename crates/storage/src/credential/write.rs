//! Creating, changing and removing credentials. Their values are written with [`crate::secret`] in the same transaction.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use platform_core::credential::Credential;
use platform_core::id::{CredentialId, TeamId, VaultId};

use super::read;
use super::row::CredentialRow;
use crate::schema::{credentials, secrets};
use crate::{Connection, StorageError, secret};

pub async fn insert(
    connection: &mut Connection,
    credential: &Credential,
) -> Result<(), StorageError> {
    let row = CredentialRow::try_from(credential)?;
    diesel::insert_into(credentials::table).values(row).execute(connection).await?;
    Ok(())
}

/// Writes the credential as it now is.
pub async fn update(
    connection: &mut Connection,
    credential: &Credential,
) -> Result<(), StorageError> {
    let updated = diesel::update(credentials::table)
        .filter(credentials::team_id.eq(credential.team_id.uuid()))
        .filter(credentials::id.eq(credential.id.uuid()))
        .set(CredentialRow::try_from(credential)?)
        .execute(connection)
        .await?;
    if updated == 1 { Ok(()) } else { Err(StorageError::NotFound("credential")) }
}

/// Archives the credential and removes its values. Archiving twice keeps the first time. Runs in the caller's transaction.
pub async fn archive(
    connection: &mut Connection,
    team: TeamId,
    vault: VaultId,
    credential: CredentialId,
    now: DateTime<Utc>,
) -> Result<Credential, StorageError> {
    diesel::update(credentials::table)
        .filter(credentials::team_id.eq(team.uuid()))
        .filter(credentials::vault_id.eq(vault.uuid()))
        .filter(credentials::id.eq(credential.uuid()))
        .filter(credentials::archived_at.is_null())
        .set((credentials::archived_at.eq(now), credentials::updated_at.eq(now)))
        .execute(connection)
        .await?;
    let archived = read::find(connection, team, vault, credential).await?;
    let archived = archived.ok_or(StorageError::NotFound("credential"))?;
    secret::delete_of(connection, team, credential.uuid()).await?;
    Ok(archived)
}

/// Removes the credential with its values. Answers whether it existed. Runs in the caller's transaction.
pub async fn delete(
    connection: &mut Connection,
    team: TeamId,
    vault: VaultId,
    credential: CredentialId,
) -> Result<bool, StorageError> {
    let deleted = diesel::delete(credentials::table)
        .filter(credentials::team_id.eq(team.uuid()))
        .filter(credentials::vault_id.eq(vault.uuid()))
        .filter(credentials::id.eq(credential.uuid()))
        .execute(connection)
        .await?;
    if deleted == 1 {
        secret::delete_of(connection, team, credential.uuid()).await?;
    }
    Ok(deleted == 1)
}

pub(crate) async fn archive_all(
    connection: &mut Connection,
    team: TeamId,
    vault: VaultId,
    now: DateTime<Utc>,
) -> Result<(), StorageError> {
    diesel::update(credentials::table)
        .filter(credentials::team_id.eq(team.uuid()))
        .filter(credentials::vault_id.eq(vault.uuid()))
        .filter(credentials::archived_at.is_null())
        .set((credentials::archived_at.eq(now), credentials::updated_at.eq(now)))
        .execute(connection)
        .await?;
    forget_values(connection, team, vault).await
}

/// Removes the values of all credentials of a vault.
pub(crate) async fn forget_values(
    connection: &mut Connection,
    team: TeamId,
    vault: VaultId,
) -> Result<(), StorageError> {
    let owners = credentials::table
        .filter(credentials::team_id.eq(team.uuid()))
        .filter(credentials::vault_id.eq(vault.uuid()))
        .select(credentials::id);
    let values = secrets::table
        .filter(secrets::team_id.eq(team.uuid()))
        .filter(secrets::owner_id.eq_any(owners));
    diesel::delete(values).execute(connection).await?;
    Ok(())
}
