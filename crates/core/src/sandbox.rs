//! The disposable place where one session's harness runs, and what it is told when it starts.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agent::AgentSnapshot;
use crate::environment::SandboxSpec;
use crate::harness::HarnessName;
use crate::id::{AgentId, EnvironmentId, SandboxId, SessionId, TeamId};
use crate::session::ForkedFrom;

/// Which sandbox of its session this is: each replacement raises it by one. 0 means that there was none yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Epoch(pub u64);

impl Epoch {
    pub const NONE: Self = Self(0);

    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// How far the journal of an epoch is in the session's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalMark {
    pub epoch: Epoch,
    /// The number of its last entry that was taken.
    pub through: u64,
}

/// One sandbox, from its place in the queue to its end. A warm one belongs to nobody until a session claims it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sandbox {
    pub id: SandboxId,
    pub team_id: Option<TeamId>,
    pub session_id: Option<SessionId>,
    pub agent_id: Option<AgentId>,
    pub epoch: Option<Epoch>,
    pub environment_id: EnvironmentId,
    pub harness: HarnessName,
    pub backend: Backend,
    /// The machine whose processes they are (local backend).
    pub host: String,
    pub state: SandboxState,
    pub spec: SandboxSpec,
    /// sandbox-service's own notes: what Hydrate will hand over, and how the backend names the sandbox.
    pub detail: Value,
    /// SHA-256 of the token that its sandbox-agent shows on the link.
    pub token_hash: Option<Vec<u8>>,
    pub exit_reason: Option<String>,
    pub created_at: DateTime<Utc>,
    pub ready_at: Option<DateTime<Utc>>,
    pub gone_at: Option<DateTime<Utc>>,
}

/// Where a sandbox stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SandboxState {
    /// Waits for room on a machine.
    Queued,
    /// Admitted; its processes are being started.
    Starting,
    /// Runs and waits for a session.
    Warm,
    /// A warm one that a session has taken and that is not ready for turns yet.
    Claimed,
    Ready,
    Stopping,
    Gone,
}

impl SandboxState {
    pub const fn as_word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Starting => "starting",
            Self::Warm => "warm",
            Self::Claimed => "claimed",
            Self::Ready => "ready",
            Self::Stopping => "stopping",
            Self::Gone => "gone",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "queued" => Some(Self::Queued),
            "starting" => Some(Self::Starting),
            "warm" => Some(Self::Warm),
            "claimed" => Some(Self::Claimed),
            "ready" => Some(Self::Ready),
            "stopping" => Some(Self::Stopping),
            "gone" => Some(Self::Gone),
            _ => None,
        }
    }
}

/// What runs the sandboxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    Local,
    Kubernetes,
}

impl Backend {
    pub fn as_word(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Kubernetes => "kubernetes",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "local" => Some(Self::Local),
            "kubernetes" => Some(Self::Kubernetes),
            _ => None,
        }
    }
}

/// How far a sandbox is on its way up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum StartupPhase {
    Queued,
    Claimed,
    Booting,
    Linked,
    PreparingWorkspace,
    StartingHarness,
    Ready,
}

impl StartupPhase {
    pub fn as_word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Claimed => "claimed",
            Self::Booting => "booting",
            Self::Linked => "linked",
            Self::PreparingWorkspace => "preparing_workspace",
            Self::StartingHarness => "starting_harness",
            Self::Ready => "ready",
        }
    }
}

/// A word that names no phase.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no phase of a start-up")]
pub struct UnknownPhase(String);

impl FromStr for StartupPhase {
    type Err = UnknownPhase;

    fn from_str(word: &str) -> Result<Self, UnknownPhase> {
        match word {
            "queued" => Ok(Self::Queued),
            "claimed" => Ok(Self::Claimed),
            "booting" => Ok(Self::Booting),
            "linked" => Ok(Self::Linked),
            "preparing_workspace" => Ok(Self::PreparingWorkspace),
            "starting_harness" => Ok(Self::StartingHarness),
            "ready" => Ok(Self::Ready),
            other => Err(UnknownPhase(other.to_owned())),
        }
    }
}

/// The way up of a session's current sandbox, as the API shows it under `startup`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Startup {
    /// Which attempt this is, from 1.
    pub attempt: u32,
    pub phase: StartupPhase,
    /// One line for a person.
    #[serde(default)]
    pub detail: String,
    /// `warm` or `cold`, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spawn_mode: Option<String>,
    pub phases: Vec<PhaseReached>,
    /// Why the last attempt was given up, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PhaseReached {
    pub phase: StartupPhase,
    pub at: DateTime<Utc>,
    /// How long the phase before took.
    pub after_ms: i64,
}

impl Startup {
    pub fn begin(attempt: u32, at: DateTime<Utc>) -> Self {
        let phase = StartupPhase::Queued;
        Self {
            attempt,
            phase,
            detail: String::new(),
            spawn_mode: None,
            phases: vec![PhaseReached { phase, at, after_ms: 0 }],
            failure: None,
        }
    }

    /// Whether the sandbox is still on its way up.
    pub fn is_under_way(&self) -> bool {
        self.phase != StartupPhase::Ready && self.failure.is_none()
    }

    /// Notes a phase; one that was passed already changes nothing, because reports may come twice.
    pub fn reach(&mut self, phase: StartupPhase, detail: String, at: DateTime<Utc>) {
        if phase < self.phase {
            return;
        }
        self.detail = detail;
        if phase == self.phase {
            return;
        }
        let before = self.phases.last().map_or(at, |reached| reached.at);
        let after_ms = (at - before).num_milliseconds().max(0);
        self.phase = phase;
        self.phases.push(PhaseReached { phase, at, after_ms });
    }
}

/// Everything that `Hydrate` hands to a sandbox: made by one builder from stored data, so that replacing a sandbox is
/// the same as starting one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionSpec {
    pub session_id: SessionId,
    pub team_id: TeamId,
    pub agent: AgentSnapshot,
    /// The harness's own name for the session, when it had one before: resume that.
    #[serde(default)]
    pub harness_session: Option<String>,
    /// Variables for the harness's room. Never a secret's value.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Files that are put into the sandbox before the harness starts.
    #[serde(default)]
    pub files: Vec<PlantedFile>,
    /// Ports beside 80 and 443 on which programs that know no proxy are let out.
    #[serde(default)]
    pub transparent_ports: Vec<u16>,
    /// What was said so far, for a harness that cannot resume: given as history, never run again.
    #[serde(default)]
    pub transcript: Vec<TranscriptItem>,
    /// Whether the session had a sandbox before, so that a fresh harness means lost memory.
    #[serde(default)]
    pub is_replacement: bool,
    /// Whether a turn waits that an earlier sandbox may have begun: then it matters what the harness remembers of it.
    #[serde(default)]
    pub has_unfinished_turn: bool,
    /// The last journal of which something is in the log. What the workspace has of it, or of later ones, beyond that is told first by
    /// the new sandbox: its predecessor died before it could.
    #[serde(default)]
    pub former_journal: Option<JournalMark>,
    /// Where the first files come from, if the session goes on from an earlier point of another.
    #[serde(default)]
    pub forked_from: Option<ForkedFrom>,
}

/// A file that the platform puts into a sandbox. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlantedFile {
    /// Absolute, below the home or the workspace.
    pub path: String,
    pub content: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TranscriptItem {
    /// `user`, `agent` or `tool`.
    pub role: String,
    pub text: String,
}
