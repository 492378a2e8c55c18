//! Keys of sessions' own at LiteLLM, so that its own limits and counts hold for each session.
//!
//! LiteLLM issues keys only with a database of its own; without one the platform's key is used for all.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderValue;
use platform_core::id::SessionId;
use platform_storage::sandbox::SandboxIdentity;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;

use super::forward::{Gateway, GatewayError, bearer};
use super::ledger::Ledger;

#[derive(Debug, thiserror::Error)]
pub enum IssueKeyError {
    #[error("LiteLLM does not issue a key")]
    Refused(#[from] reqwest::Error),
    #[error("LiteLLM's answer holds no key")]
    Answer(#[from] serde_json::Error),
    #[error("LiteLLM's key is no key")]
    Key(#[from] GatewayError),
}

#[derive(Deserialize)]
struct Issued {
    key: SecretString,
}

/// The keys that were issued by this process.
pub struct SessionKeys {
    gateway: Gateway,
    ledger: Arc<dyn Ledger>,
    issued: Mutex<BTreeMap<SessionId, HeaderValue>>,
}

impl SessionKeys {
    pub fn new(gateway: Gateway, ledger: Arc<dyn Ledger>) -> Self {
        Self { gateway, ledger, issued: Mutex::default() }
    }

    /// The session's key, issued when there is none yet.
    pub async fn of(&self, owner: SandboxIdentity) -> Result<HeaderValue, IssueKeyError> {
        let mut issued = self.issued.lock().await;
        if let Some(key) = issued.get(&owner.session_id) {
            return Ok(key.clone());
        }
        let key = self.issue(owner).await?;
        issued.insert(owner.session_id, key.clone());
        Ok(key)
    }

    /// Gives the session's key back, if this process issued one.
    pub async fn give_back(&self, session: SessionId) {
        let Some(key) = self.issued.lock().await.remove(&session) else { return };
        let Some(key) = key.to_str().ok().and_then(|key| key.strip_prefix("Bearer ")) else {
            return;
        };
        if let Err(error) = self.gateway.ask("/key/delete", &json!({ "keys": [key] })).await {
            tracing::warn!(session.id = %session, error = &error as &dyn std::error::Error, "a session's key at LiteLLM could not be deleted");
        }
    }

    async fn issue(&self, owner: SandboxIdentity) -> Result<HeaderValue, IssueKeyError> {
        let SandboxIdentity { team_id, agent_id, session_id } = owner;
        let tags = [
            format!("team:{team_id}"),
            format!("agent:{agent_id}"),
            format!("session:{session_id}"),
        ];
        let metadata =
            json!({ "team": team_id, "agent": agent_id, "session": session_id, "tags": tags });
        let mut wanted = json!({ "metadata": metadata, "tags": tags });
        // Counted by us as well; without an answer from the database the key has no limit of its own.
        if let Ok(allowances) = self.ledger.allowances(owner).await
            && let Some(budget) = allowances.session.budget
            && let Some(wanted) = wanted.as_object_mut()
        {
            let left = budget.max_cost.0.saturating_sub(allowances.session.spent.0);
            wanted.insert("max_budget".to_owned(), dollars(left).into());
        }
        let answer = self.gateway.ask("/key/generate", &wanted).await?;
        let issued: Issued = serde_json::from_slice(&answer)?;
        Ok(bearer(&issued.key)?)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "nobody's budget has 2^52 billionths to be exact about"
)]
fn dollars(nano: u64) -> f64 {
    nano as f64 / 1e9
}
