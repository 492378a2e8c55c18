//! Credentials of a vault: which secret may be used where. Values come in and are never shown again.

pub mod archive;
pub mod create;
pub mod delete;
pub mod get;
pub mod list;
pub mod update;
pub mod validate;
mod view;

use platform_core::credential::Credential;
use platform_core::id::{CredentialId, TeamId, VaultId};
use platform_storage::{Connection, credential};

use crate::problem::Problem;

pub use view::CredentialView;

pub async fn find(
    connection: &mut Connection,
    team: TeamId,
    vault: VaultId,
    id: CredentialId,
) -> Result<Credential, Problem> {
    let found = credential::find(connection, team, vault, id).await?;
    found.ok_or_else(|| Problem::not_found("credential", id))
}

fn check_living(credential: &Credential) -> Result<(), Problem> {
    if credential.archived_at.is_none() {
        return Ok(());
    }
    let message = format!("credential {} is archived and cannot be used or changed", credential.id);
    Err(Problem::invalid(message).with_code("credential_archived"))
}
