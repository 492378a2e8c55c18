//! Vaults: named sets of credentials.

pub mod archive;
pub mod create;
pub mod delete;
pub mod get;
pub mod list;
pub mod update;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use platform_core::credential::Vault;
use platform_core::id::{TeamId, VaultId};
use platform_storage::{Connection, vault};
use serde::Serialize;

use crate::problem::Problem;

/// A vault as the API shows it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct VaultView {
    id: VaultId,
    /// Always `vault`.
    r#type: &'static str,
    display_name: String,
    metadata: BTreeMap<String, String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    archived_at: Option<DateTime<Utc>>,
}

impl From<Vault> for VaultView {
    fn from(vault: Vault) -> Self {
        Self {
            id: vault.id,
            r#type: "vault",
            display_name: vault.display_name,
            metadata: vault.metadata,
            created_at: vault.created_at,
            updated_at: vault.updated_at,
            archived_at: vault.archived_at,
        }
    }
}

pub async fn find(
    connection: &mut Connection,
    team: TeamId,
    id: VaultId,
) -> Result<Vault, Problem> {
    let found = vault::find(connection, team, id).await?;
    found.ok_or_else(|| Problem::not_found("vault", id))
}

/// A vault that still takes changes. Until the transaction ends nobody else archives it.
pub async fn lock(
    connection: &mut Connection,
    team: TeamId,
    id: VaultId,
) -> Result<Vault, Problem> {
    let found = vault::lock(connection, team, id).await?;
    let vault = found.ok_or_else(|| Problem::not_found("vault", id))?;
    check_living(&vault)?;
    Ok(vault)
}

pub fn check_living(vault: &Vault) -> Result<(), Problem> {
    if vault.archived_at.is_none() {
        return Ok(());
    }
    let message = format!("vault {} is archived and cannot be used or changed", vault.id);
    Err(Problem::invalid(message).with_code("vault_archived"))
}
