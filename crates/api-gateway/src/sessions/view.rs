//! A session as the API shows it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use platform_core::agent::AgentSnapshot;
use platform_core::budget::WireBudget;
use platform_core::harness::HarnessName;
use platform_core::id::{EnvironmentId, SandboxId, SessionId};
use platform_core::sandbox::{Startup, StartupPhase};
use platform_core::session::{ForkedFrom, Session, SessionStatus, WireUsage};
use platform_core::variable::Variables;
use platform_storage::{Connection, sandbox};
use serde::Serialize;
use serde_json::Value;

use crate::problem::Problem;

/// The wire format's session, and after `archived_at` what is ours.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SessionView {
    id: SessionId,
    /// Always `session`.
    r#type: &'static str,
    status: SessionStatus,
    title: Option<String>,
    environment_id: EnvironmentId,
    deployment_id: Option<String>,
    metadata: BTreeMap<String, String>,
    vault_ids: Vec<String>,
    agent: AgentSnapshot,
    resources: Vec<Value>,
    outcome_evaluations: Vec<Value>,
    stats: StatsView,
    usage: WireUsage,
    budget: Option<WireBudget>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    archived_at: Option<DateTime<Utc>>,
    /// The caller's own key for the session.
    context: Option<String>,
    harness: HarnessName,
    /// How far the present sandbox is, or was, on its way up.
    startup: Option<StartupView>,
    /// Which sandbox of the session the present one is; 0 before the first.
    epoch: u64,
    /// The sandbox that is ready for turns, if any.
    sandbox_id: Option<SandboxId>,
    /// Where it comes from, if it goes on from an earlier point of another session.
    forked_from: Option<ForkedFrom>,
    /// Variables of its own; those of its environment and its agent come beside them. Values of secrets are not shown.
    environment_variables: Variables,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct StatsView {
    duration_seconds: f64,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct StartupView {
    #[serde(flatten)]
    startup: Startup,
    /// While it waits for room: how many start-ups are before it, itself counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<i64>,
}

impl SessionView {
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Shows a session at `now`, without its place in the queue.
    pub fn new(session: Session, now: DateTime<Utc>) -> Self {
        let has_ended = session.status == SessionStatus::Terminated;
        let until = if has_ended { session.updated_at } else { now };
        let duration = (until - session.created_at).to_std().unwrap_or_default();
        Self {
            id: session.id,
            r#type: "session",
            status: session.status,
            title: session.title,
            environment_id: session.environment_id,
            deployment_id: None,
            metadata: session.metadata,
            vault_ids: session.vault_ids,
            harness: session.agent.definition.harness.clone(),
            agent: session.agent,
            resources: Vec::new(),
            outcome_evaluations: Vec::new(),
            stats: StatsView { duration_seconds: duration.as_secs_f64() },
            usage: session.usage.into(),
            budget: session.budget.map(WireBudget::from),
            created_at: session.created_at,
            updated_at: session.updated_at,
            archived_at: session.archived_at,
            context: session.context,
            startup: session.startup.map(|startup| StartupView { startup, position: None }),
            epoch: session.epoch.0,
            sandbox_id: session.sandbox_id,
            forked_from: session.forked_from,
            environment_variables: session.environment_variables,
        }
    }

    /// Shows a session with its place in the queue, if it waits there.
    pub async fn read(
        connection: &mut Connection,
        session: Session,
        now: DateTime<Utc>,
    ) -> Result<Self, Problem> {
        let is_queued = session
            .startup
            .as_ref()
            .is_some_and(|startup| startup.is_under_way() && startup.phase == StartupPhase::Queued);
        let position = if is_queued {
            let (team, id, epoch) = (session.team_id, session.id, session.epoch);
            sandbox::queue_position(connection, team, id, epoch).await?
        } else {
            None
        };
        let mut view = Self::new(session, now);
        if let Some(startup) = &mut view.startup {
            startup.position = position;
        }
        Ok(view)
    }
}
