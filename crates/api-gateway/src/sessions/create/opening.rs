//! A session that is about to be opened.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use platform_core::agent::AgentSnapshot;
use platform_core::budget::Budget;
use platform_core::id::{EnvironmentId, SessionId};
use platform_core::session::{ClientEvent, Session};
use platform_core::variable::Variables;
use platform_messaging::proto::session::OpenSession;
use platform_storage::secret::StoredSecret;
use platform_storage::{StorageError, secret};
use tracing::warn;

use super::Created;
use crate::caller::Caller;
use crate::events::incoming;
use crate::minting::Minting;
use crate::platform::Platform;
use crate::problem::Problem;
use crate::sessions::SessionView;

pub(super) struct Opening {
    pub(super) id: SessionId,
    pub(super) agent: AgentSnapshot,
    pub(super) environment_id: EnvironmentId,
    pub(super) context: Option<String>,
    pub(super) title: Option<String>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) initial_events: Vec<ClientEvent>,
    pub(super) vault_ids: Vec<String>,
    pub(super) budget: Option<Budget>,
    pub(super) environment_variables: Variables,
}

impl Opening {
    pub(super) fn command(&self) -> Result<OpenSession, Problem> {
        let budget = self.budget.as_ref().map(incoming::to_json).transpose()?;
        let has_variables = !self.environment_variables.is_empty();
        let variables = has_variables.then(|| incoming::to_json(&self.environment_variables));
        Ok(OpenSession {
            agent_id: self.agent.id.uuid().to_string(),
            agent_version: self.agent.version,
            agent_snapshot: incoming::to_json(&self.agent)?,
            environment_id: self.environment_id.uuid().to_string(),
            context: self.context.clone(),
            title: self.title.clone(),
            metadata: incoming::to_json(&self.metadata)?,
            initial_events: incoming::to_json(&self.initial_events)?,
            vault_ids: self.vault_ids.clone(),
            budget: budget.unwrap_or_default(),
            environment_variables: variables.transpose()?.unwrap_or_default(),
        })
    }

    pub(super) fn later(self, caller: Caller, platform: &Platform) -> Created {
        let now = platform.clock.now();
        Created::Later(Box::new(SessionView::new(self.expected(caller, now), now)))
    }

    /// The session as it will be, for a caller who is answered before it is.
    fn expected(self, caller: Caller, now: DateTime<Utc>) -> Session {
        let new = Session::new(self.id, caller.team(), self.agent, self.environment_id, now);
        Session {
            context: self.context,
            title: self.title,
            metadata: self.metadata,
            vault_ids: self.vault_ids,
            budget: self.budget,
            environment_variables: self.environment_variables,
            ..new
        }
    }
}

/// Stores the session's own secrets, before anything can want to use them. An earlier attempt may have done so.
pub(super) async fn keep_secrets(
    caller: Caller,
    platform: &Platform,
    minting: &Minting,
    secrets: &[StoredSecret],
) -> Result<(), Problem> {
    if secrets.is_empty() {
        return Ok(());
    }
    let mut connection = platform.database.connection().await?;
    if minting.may_repeat() {
        let ids: Vec<_> = secrets.iter().map(|secret| secret.id).collect();
        if secret::find_many(&mut connection, caller.team(), &ids).await?.len() == ids.len() {
            return Ok(());
        }
    }
    Ok(secret::insert(&mut connection, secrets).await?)
}

/// No session came to be that they belong to. What is left behind all the same, the worker finds.
pub(super) async fn forget_secrets(
    caller: Caller,
    platform: &Platform,
    session: SessionId,
    secrets: &[StoredSecret],
) {
    if secrets.is_empty() {
        return;
    }
    let forgotten: Result<(), StorageError> = async {
        let mut connection = platform.database.connection().await?;
        secret::delete_of(&mut connection, caller.team(), session.uuid()).await
    }
    .await;
    if let Err(failure) = forgotten {
        warn!(%failure, "secrets of a session that was not opened were left behind");
    }
}
