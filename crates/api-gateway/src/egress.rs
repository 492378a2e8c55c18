//! What the way out decided about the requests of a session.

pub mod list;

use chrono::{DateTime, Utc};
use platform_core::egress::{EgressDecision, Verdict};
use platform_core::id::{EgressDecisionId, SandboxId, SessionId};
use serde::Serialize;

/// A decision as the API shows it: no query, no header, no body.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct EgressDecisionView {
    id: EgressDecisionId,
    /// Always `egress_decision`.
    r#type: &'static str,
    session_id: SessionId,
    sandbox_id: SandboxId,
    at: DateTime<Utc>,
    /// Failed: allowed, and the other side could not be reached.
    verdict: Verdict,
    /// The rule that allowed it, or the one that would.
    rule: String,
    /// Why it was denied: stable, for programs.
    code: Option<String>,
    host: String,
    port: u16,
    /// Null where only a tunnel was seen.
    method: Option<String>,
    path: Option<String>,
    /// Of the answer.
    status: Option<u16>,
    /// What the sandbox sent.
    bytes_out: u64,
    /// What it was sent.
    bytes_in: u64,
}

impl From<EgressDecision> for EgressDecisionView {
    fn from(decision: EgressDecision) -> Self {
        Self {
            id: decision.id,
            r#type: "egress_decision",
            session_id: decision.session_id,
            sandbox_id: decision.sandbox_id,
            at: decision.at,
            verdict: decision.verdict,
            rule: decision.rule,
            code: decision.code,
            host: decision.host,
            port: decision.port,
            method: decision.method,
            path: decision.path,
            status: decision.status,
            bytes_out: decision.bytes_out,
            bytes_in: decision.bytes_in,
        }
    }
}
