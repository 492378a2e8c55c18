//! What was decided about requests that wanted to leave a sandbox.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::id::{EgressDecisionId, SandboxId, SessionId, TeamId};

/// One decision of the way out. Holds no query, no header and no body: those may carry secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EgressDecision {
    pub id: EgressDecisionId,
    pub team_id: TeamId,
    pub session_id: SessionId,
    pub sandbox_id: SandboxId,
    pub at: DateTime<Utc>,
    pub verdict: Verdict,
    /// The rule that allowed it, or the rule that would.
    pub rule: String,
    /// Why it was denied: stable, for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    pub host: String,
    pub port: u16,
    /// Absent where only a tunnel was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Without the query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    pub bytes_out: u64,
    pub bytes_in: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Allowed,
    Denied,
    /// Allowed by the rules, and the other side could not be reached.
    Failed,
}

impl Verdict {
    pub fn as_word(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "allowed" => Some(Self::Allowed),
            "denied" => Some(Self::Denied),
            "failed" => Some(Self::Failed),
            _ => None,
        }
    }
}

/// Something that must never happen was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    pub kind: AlarmKind,
    /// A sentence for a person. Holds no secret.
    pub message: String,
    /// Where it was sent, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AlarmKind {
    /// A placeholder was sent to a host, or in a place, that is not its credential's.
    PlaceholderMisused,
    /// A value that is planted for nobody to use was seen.
    HoneyValueSeen,
}

impl AlarmKind {
    /// Whether what was seen cannot have been a mistake, so that the sandbox is ended.
    pub fn ends_sandbox(self) -> bool {
        match self {
            Self::PlaceholderMisused => false,
            Self::HoneyValueSeen => true,
        }
    }
}
