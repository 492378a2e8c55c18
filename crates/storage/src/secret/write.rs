//! Writing sealed values and fingerprints.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use platform_core::id::{SecretId, TeamId};
use uuid::Uuid;

use super::read::find_many;
use super::row::SecretRow;
use super::{KnownSecret, StoredSecret};
use crate::schema::secrets;
use crate::{Connection, StorageError};

pub async fn insert(connection: &mut Connection, new: &[StoredSecret]) -> Result<(), StorageError> {
    let rows: Vec<SecretRow> = new.iter().map(SecretRow::from).collect();
    diesel::insert_into(secrets::table).values(rows).execute(connection).await?;
    Ok(())
}

/// Copies secrets of a team for another owner, each under a new id, as they are sealed: nobody has to open them. Those that are gone are
/// left out.
pub async fn copy_many(
    connection: &mut Connection,
    team: TeamId,
    copies: &[(SecretId, SecretId)],
    owner_id: Uuid,
    now: DateTime<Utc>,
) -> Result<(), StorageError> {
    let originals: Vec<SecretId> = copies.iter().map(|(original, _)| *original).collect();
    let found = find_many(connection, team, &originals).await?;
    let new = copies.iter().filter_map(|(original, id)| {
        let original = found.iter().find(|secret| secret.id == *original)?;
        Some(StoredSecret { id: *id, owner_id, created_at: now, ..original.clone() })
    });
    insert(connection, &new.collect::<Vec<_>>()).await
}

/// Removes everything that belongs to this credential, environment, agent or session.
pub async fn delete_of(
    connection: &mut Connection,
    team: TeamId,
    owner: Uuid,
) -> Result<(), StorageError> {
    let theirs =
        secrets::table.filter(secrets::team_id.eq(team.uuid())).filter(secrets::owner_id.eq(owner));
    diesel::delete(theirs).execute(connection).await?;
    Ok(())
}

/// Removes these, which have been replaced.
pub async fn delete_many(
    connection: &mut Connection,
    team: TeamId,
    ids: &[SecretId],
) -> Result<(), StorageError> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let replaced =
        secrets::table.filter(secrets::team_id.eq(team.uuid())).filter(secrets::id.eq_any(ids));
    diesel::delete(replaced).execute(connection).await?;
    Ok(())
}

/// Writes a secret as it was sealed anew under another key: value, key and fingerprint.
pub async fn reseal(
    connection: &mut Connection,
    secret: &StoredSecret,
) -> Result<(), StorageError> {
    let print = secret.fingerprint.as_ref();
    let resealed = diesel::update(secrets::table)
        .filter(secrets::team_id.eq(secret.team_id.uuid()))
        .filter(secrets::id.eq(secret.id.uuid()))
        .set((
            secrets::sealed.eq(&secret.sealed),
            secrets::key_id.eq(&secret.key_id),
            secrets::fingerprint_length.eq(print.map(|print| print.length)),
            secrets::fingerprint_head.eq(print.map(|print| print.head)),
            secrets::fingerprint_digest.eq(print.map(|print| print.digest.clone())),
        ))
        .execute(connection)
        .await?;
    if resealed == 1 { Ok(()) } else { Err(StorageError::NotFound("secret")) }
}

/// Keeps by what the platform's own secrets are recognised, in the place of what was kept before. They belong to no team, and
/// their values are in no table. Runs in the caller's transaction.
pub async fn keep_platform_fingerprints(
    connection: &mut Connection,
    known: &[(SecretId, KnownSecret)],
    now: DateTime<Utc>,
) -> Result<(), StorageError> {
    diesel::delete(secrets::table.filter(secrets::team_id.is_null())).execute(connection).await?;
    let rows: Vec<_> = known
        .iter()
        .map(|(id, known)| {
            (
                secrets::id.eq(id.uuid()),
                secrets::owner_id.eq(id.uuid()),
                secrets::name.eq(&known.name),
                secrets::key_id.eq(&known.key_id),
                secrets::fingerprint_length.eq(Some(known.fingerprint.length)),
                secrets::fingerprint_head.eq(Some(known.fingerprint.head)),
                secrets::fingerprint_digest.eq(Some(known.fingerprint.digest.clone())),
                secrets::created_at.eq(now),
            )
        })
        .collect();
    // Two replicas may do this at once, with the same ids.
    diesel::insert_into(secrets::table)
        .values(rows)
        .on_conflict_do_nothing()
        .execute(connection)
        .await?;
    Ok(())
}
