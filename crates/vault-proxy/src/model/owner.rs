//! On whose behalf a sandbox calls models.

use futures::future::BoxFuture;
use platform_core::id::SandboxId;
use platform_storage::sandbox::{self, SandboxIdentity};
use platform_storage::{Database, StorageError};

/// Knows whose a sandbox is.
pub trait Owners: Send + Sync + 'static {
    /// `None` for a sandbox that no session has claimed yet, and for one that is gone.
    fn owner_of(
        &self,
        sandbox: SandboxId,
    ) -> BoxFuture<'_, Result<Option<SandboxIdentity>, StorageError>>;
}

impl Owners for Database {
    fn owner_of(
        &self,
        sandbox: SandboxId,
    ) -> BoxFuture<'_, Result<Option<SandboxIdentity>, StorageError>> {
        Box::pin(async move {
            let mut connection = self.connection().await?;
            sandbox::identity(&mut connection, sandbox).await
        })
    }
}

/// What LiteLLM counts a call under.
pub fn tags(owner: &SandboxIdentity) -> String {
    format!("team:{},agent:{},session:{}", owner.team_id, owner.agent_id, owner.session_id)
}
