//! Reading sealed values and fingerprints.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use platform_core::id::{SecretId, TeamId};
use uuid::Uuid;

use super::row::{SecretRow, fingerprint};
use super::{KnownSecret, StoredSecret};
use crate::schema::{encryption_keys, secrets};
use crate::{Connection, StorageError};

/// Those of the given secrets that the team has, in no order.
pub async fn find_many(
    connection: &mut Connection,
    team: TeamId,
    ids: &[SecretId],
) -> Result<Vec<StoredSecret>, StorageError> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let rows = SecretRow::query()
        .filter(secrets::team_id.eq(team.uuid()))
        .filter(secrets::id.eq_any(ids))
        .load(connection)
        .await?;
    rows.into_iter().map(StoredSecret::try_from).collect()
}

/// By what the team's secrets, and the platform's own, are recognised.
pub async fn fingerprints(
    mut connection: &Connection,
    team: TeamId,
) -> Result<Vec<KnownSecret>, StorageError> {
    type Row = (String, String, Option<i32>, Option<i64>, Option<Vec<u8>>);
    let rows: Vec<Row> = secrets::table
        .filter(secrets::team_id.eq(team.uuid()).or(secrets::team_id.is_null()))
        .filter(secrets::fingerprint_digest.is_not_null())
        .select((
            secrets::name,
            secrets::key_id,
            secrets::fingerprint_length,
            secrets::fingerprint_head,
            secrets::fingerprint_digest,
        ))
        .load(&mut connection)
        .await?;
    let known = rows.into_iter().filter_map(|(name, key_id, length, head, digest)| {
        Some(KnownSecret { name, key_id, fingerprint: fingerprint(length, head, digest)? })
    });
    Ok(known.collect())
}

/// Some secrets that are sealed under another key than this one, of all teams: for whoever seals them anew. Locked until the
/// transaction ends; those that another one has in hand are passed over.
pub async fn sealed_under_other_keys(
    connection: &mut Connection,
    key_id: &str,
    limit: i64,
) -> Result<Vec<StoredSecret>, StorageError> {
    let rows = SecretRow::query()
        .filter(secrets::key_id.ne(key_id))
        .filter(secrets::sealed.is_not_null())
        .order(secrets::id)
        .limit(limit)
        .for_update()
        .skip_locked()
        .load(connection)
        .await?;
    rows.into_iter().map(StoredSecret::try_from).collect()
}

/// Keys under which secrets are sealed and that are not among the given ones, each with how many.
pub async fn unknown_keys(
    connection: &mut Connection,
    known: &[String],
) -> Result<Vec<(String, i64)>, StorageError> {
    let rows = secrets::table
        .filter(secrets::sealed.is_not_null())
        .filter(secrets::key_id.ne_all(known))
        .group_by(secrets::key_id)
        .select((secrets::key_id, diesel::dsl::count_star()))
        .load(connection)
        .await?;
    Ok(rows)
}

/// Notes that the platform was started with this key. Answers the keys that it was started with before, this one left out.
pub async fn note_key(
    connection: &mut Connection,
    key_id: &str,
    now: DateTime<Utc>,
) -> Result<Vec<String>, StorageError> {
    diesel::insert_into(encryption_keys::table)
        .values((encryption_keys::id.eq(key_id), encryption_keys::created_at.eq(now)))
        .on_conflict_do_nothing()
        .execute(connection)
        .await?;
    let others = encryption_keys::table
        .filter(encryption_keys::id.ne(key_id))
        .order(encryption_keys::created_at)
        .select(encryption_keys::id)
        .load(connection)
        .await?;
    Ok(others)
}
