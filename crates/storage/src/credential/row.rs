//! Rows of `credentials` and what they mean.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use platform_core::credential::Credential;
use platform_core::id::Id;
use serde_json::Value;
use uuid::Uuid;

use crate::StorageError;
use crate::column::{from_json, to_json};
use crate::schema::credentials;

#[derive(HasQuery, Insertable, AsChangeset)]
#[diesel(table_name = credentials, treat_none_as_null = true)]
pub(super) struct CredentialRow {
    id: Uuid,
    team_id: Uuid,
    vault_id: Uuid,
    display_name: Option<String>,
    auth: Value,
    metadata: Value,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    archived_at: Option<DateTime<Utc>>,
}

impl TryFrom<&Credential> for CredentialRow {
    type Error = StorageError;

    fn try_from(credential: &Credential) -> Result<Self, StorageError> {
        Ok(Self {
            id: credential.id.uuid(),
            team_id: credential.team_id.uuid(),
            vault_id: credential.vault_id.uuid(),
            display_name: credential.display_name.clone(),
            auth: to_json("credentials.auth", &credential.auth)?,
            metadata: to_json("credentials.metadata", &credential.metadata)?,
            created_at: credential.created_at,
            updated_at: credential.updated_at,
            archived_at: credential.archived_at,
        })
    }
}

impl TryFrom<CredentialRow> for Credential {
    type Error = StorageError;

    fn try_from(row: CredentialRow) -> Result<Self, StorageError> {
        Ok(Self {
            id: Id::from_uuid(row.id),
            team_id: Id::from_uuid(row.team_id),
            vault_id: Id::from_uuid(row.vault_id),
            display_name: row.display_name,
            auth: from_json("credentials.auth", row.auth)?,
            metadata: from_json("credentials.metadata", row.metadata)?,
            created_at: row.created_at,
            updated_at: row.updated_at,
            archived_at: row.archived_at,
        })
    }
}
