//! Rows of `secrets` and what they mean.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use platform_core::id::Id;
use uuid::Uuid;

use super::{StoredFingerprint, StoredSecret};
use crate::StorageError;
use crate::column::unreadable;
use crate::schema::secrets;

#[derive(HasQuery, Insertable)]
#[diesel(table_name = secrets)]
pub(super) struct SecretRow {
    id: Uuid,
    team_id: Option<Uuid>,
    owner_id: Uuid,
    name: String,
    sealed: Option<Vec<u8>>,
    key_id: String,
    fingerprint_length: Option<i32>,
    fingerprint_head: Option<i64>,
    fingerprint_digest: Option<Vec<u8>>,
    created_at: DateTime<Utc>,
    sealed_as: Option<Uuid>,
}

impl From<&StoredSecret> for SecretRow {
    fn from(secret: &StoredSecret) -> Self {
        let print = secret.fingerprint.as_ref();
        Self {
            id: secret.id.uuid(),
            team_id: Some(secret.team_id.uuid()),
            owner_id: secret.owner_id,
            name: secret.name.clone(),
            sealed: Some(secret.sealed.clone()),
            key_id: secret.key_id.clone(),
            fingerprint_length: print.map(|print| print.length),
            fingerprint_head: print.map(|print| print.head),
            fingerprint_digest: print.map(|print| print.digest.clone()),
            created_at: secret.created_at,
            sealed_as: (secret.sealed_as != secret.id).then(|| secret.sealed_as.uuid()),
        }
    }
}

impl TryFrom<SecretRow> for StoredSecret {
    type Error = StorageError;

    fn try_from(row: SecretRow) -> Result<Self, StorageError> {
        let missing = || unreadable("secrets.sealed", "a secret of a team has no team or no value");
        Ok(Self {
            id: Id::from_uuid(row.id),
            team_id: Id::from_uuid(row.team_id.ok_or_else(missing)?),
            owner_id: row.owner_id,
            name: row.name,
            sealed: row.sealed.ok_or_else(missing)?,
            key_id: row.key_id,
            fingerprint: fingerprint(
                row.fingerprint_length,
                row.fingerprint_head,
                row.fingerprint_digest,
            ),
            created_at: row.created_at,
            sealed_as: Id::from_uuid(row.sealed_as.unwrap_or(row.id)),
        })
    }
}

pub(super) fn fingerprint(
    length: Option<i32>,
    head: Option<i64>,
    digest: Option<Vec<u8>>,
) -> Option<StoredFingerprint> {
    Some(StoredFingerprint { length: length?, head: head?, digest: digest? })
}
