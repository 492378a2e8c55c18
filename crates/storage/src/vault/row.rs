//! Rows of `vaults` and what they mean.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use platform_core::credential::Vault;
use platform_core::id::Id;
use serde_json::Value;
use uuid::Uuid;

use crate::StorageError;
use crate::column::{from_json, to_json};
use crate::schema::vaults;

#[derive(HasQuery, Insertable, AsChangeset)]
#[diesel(table_name = vaults, treat_none_as_null = true)]
pub(super) struct VaultRow {
    id: Uuid,
    team_id: Uuid,
    display_name: String,
    metadata: Value,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    archived_at: Option<DateTime<Utc>>,
}

impl TryFrom<&Vault> for VaultRow {
    type Error = StorageError;

    fn try_from(vault: &Vault) -> Result<Self, StorageError> {
        Ok(Self {
            id: vault.id.uuid(),
            team_id: vault.team_id.uuid(),
            display_name: vault.display_name.clone(),
            metadata: to_json("vaults.metadata", &vault.metadata)?,
            created_at: vault.created_at,
            updated_at: vault.updated_at,
            archived_at: vault.archived_at,
        })
    }
}

impl TryFrom<VaultRow> for Vault {
    type Error = StorageError;

    fn try_from(row: VaultRow) -> Result<Self, StorageError> {
        Ok(Self {
            id: Id::from_uuid(row.id),
            team_id: Id::from_uuid(row.team_id),
            display_name: row.display_name,
            metadata: from_json("vaults.metadata", row.metadata)?,
            created_at: row.created_at,
            updated_at: row.updated_at,
            archived_at: row.archived_at,
        })
    }
}
