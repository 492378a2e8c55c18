//! Sandboxes, to look at and to kill.

pub mod get;
pub mod kill;
pub mod list;

use chrono::{DateTime, Utc};
use platform_core::environment::Resources;
use platform_core::harness::HarnessName;
use platform_core::id::{AgentId, EnvironmentId, SandboxId, SessionId, TeamId};
use platform_core::sandbox::Sandbox;
use platform_storage::{Connection, sandbox};
use serde::Serialize;
use serde_json::Value;

use crate::problem::Problem;

/// A sandbox as the API shows it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SandboxView {
    id: SandboxId,
    /// Always `sandbox`.
    r#type: &'static str,
    /// queued, starting, warm, claimed, ready, stopping or gone.
    state: &'static str,
    session_id: Option<SessionId>,
    agent_id: Option<AgentId>,
    environment_id: EnvironmentId,
    /// Which sandbox of its session it is.
    epoch: Option<u64>,
    harness: HarnessName,
    /// local or kubernetes.
    backend: &'static str,
    resources: Resources,
    /// What of `resources` the kernel enforces, and how, in words for each; null while it has not started.
    limits: Option<Value>,
    exit_reason: Option<String>,
    created_at: DateTime<Utc>,
    ready_at: Option<DateTime<Utc>>,
    gone_at: Option<DateTime<Utc>>,
}

impl From<Sandbox> for SandboxView {
    fn from(sandbox: Sandbox) -> Self {
        Self {
            id: sandbox.id,
            r#type: "sandbox",
            state: sandbox.state.as_word(),
            session_id: sandbox.session_id,
            agent_id: sandbox.agent_id,
            environment_id: sandbox.environment_id,
            epoch: sandbox.epoch.map(|epoch| epoch.0),
            harness: sandbox.harness,
            backend: sandbox.backend.as_word(),
            resources: sandbox.spec.resources,
            limits: sandbox.detail.get("limits").filter(|limits| !limits.is_null()).cloned(),
            exit_reason: sandbox.exit_reason,
            created_at: sandbox.created_at,
            ready_at: sandbox.ready_at,
            gone_at: sandbox.gone_at,
        }
    }
}

pub async fn find(
    connection: &mut Connection,
    team: TeamId,
    id: SandboxId,
) -> Result<Sandbox, Problem> {
    let found = sandbox::find_of_team(connection, team, id).await?;
    found.ok_or_else(|| Problem::not_found("sandbox", id))
}
