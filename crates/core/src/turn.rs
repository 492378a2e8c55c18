//! A turn: everything from a user's message until the agent is idle again.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::id::TurnId;
use crate::sandbox::Epoch;

/// How often an unfinished turn is taken up again by a further sandbox after a loss.
pub const MAX_RETAKES: u32 = 3;

/// One turn of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    pub id: TurnId,
    /// 1, 2, 3 … in the session: the order in which turns run.
    pub ordinal: i64,
    /// The number of the user's message that opened it.
    pub event_number: i64,
    pub state: TurnState,
    /// How many sandboxes have been given it.
    pub attempts: u32,
    pub created_at: DateTime<Utc>,
    /// When the first sandbox was given it.
    pub started_at: Option<DateTime<Utc>>,
}

/// Where a turn stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TurnState {
    Queued,
    Dispatched { epoch: Epoch },
    Running { epoch: Epoch },
    Ended { reason: StopReason, at: DateTime<Utc> },
}

/// Why a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    EndTurn,
    Interrupted,
    RequiresAction,
    BudgetReached,
    MaxTurns,
    TimedOut,
    SandboxLost,
    Error,
    RetriesExhausted,
    Refusal,
}

/// The turn's state does not allow the transition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a turn that is {state} cannot {transition}")]
pub struct IllegalTransition {
    state: &'static str,
    transition: &'static str,
}

impl TurnState {
    /// The turn is handed to the sandbox of `epoch`.
    pub fn dispatch(self, epoch: Epoch) -> Result<Self, IllegalTransition> {
        match self {
            Self::Queued => Ok(Self::Dispatched { epoch }),
            Self::Dispatched { .. } | Self::Running { .. } | Self::Ended { .. } => {
                Err(self.refuse("be dispatched"))
            }
        }
    }

    /// The harness has the prompt.
    pub fn start(self, epoch: Epoch) -> Result<Self, IllegalTransition> {
        match self {
            Self::Dispatched { epoch: dispatched } if dispatched == epoch => {
                Ok(Self::Running { epoch })
            }
            Self::Running { epoch: running } if running == epoch => Ok(self),
            Self::Queued | Self::Dispatched { .. } | Self::Running { .. } | Self::Ended { .. } => {
                Err(self.refuse("start"))
            }
        }
    }

    /// The sandbox that had the turn is gone; the next one takes it up.
    pub fn requeue(self) -> Result<Self, IllegalTransition> {
        match self {
            Self::Queued | Self::Dispatched { .. } | Self::Running { .. } => Ok(Self::Queued),
            Self::Ended { .. } => Err(self.refuse("be taken up again")),
        }
    }

    pub fn end(self, reason: StopReason, at: DateTime<Utc>) -> Result<Self, IllegalTransition> {
        match self {
            Self::Queued | Self::Dispatched { .. } | Self::Running { .. } => {
                Ok(Self::Ended { reason, at })
            }
            Self::Ended { .. } => Err(self.refuse("end")),
        }
    }

    pub fn as_word(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Dispatched { .. } => "dispatched",
            Self::Running { .. } => "running",
            Self::Ended { .. } => "ended",
        }
    }

    fn refuse(&self, transition: &'static str) -> IllegalTransition {
        IllegalTransition { state: self.as_word(), transition }
    }
}

impl StopReason {
    pub fn as_word(self) -> &'static str {
        match self {
            Self::EndTurn => "end_turn",
            Self::Interrupted => "interrupted",
            Self::RequiresAction => "requires_action",
            Self::BudgetReached => "budget_reached",
            Self::MaxTurns => "max_turns",
            Self::TimedOut => "timed_out",
            Self::SandboxLost => "sandbox_lost",
            Self::Error => "error",
            Self::RetriesExhausted => "retries_exhausted",
            Self::Refusal => "refusal",
        }
    }

    /// The word of the wire format, which has fewer; ours goes beside it.
    pub fn wire_word(self) -> &'static str {
        match self {
            Self::EndTurn | Self::Interrupted => "end_turn",
            Self::RequiresAction => "requires_action",
            Self::BudgetReached => "budget_reached",
            Self::Refusal => "refusal",
            Self::MaxTurns
            | Self::TimedOut
            | Self::SandboxLost
            | Self::Error
            | Self::RetriesExhausted => "retries_exhausted",
        }
    }

    /// Whether a `session.error` event goes before the idle event.
    pub fn is_error(self) -> bool {
        matches!(self.wire_word(), "retries_exhausted")
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_word())
    }
}

/// A word that names no stop reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no stop reason")]
pub struct UnknownStopReason(String);

impl FromStr for StopReason {
    type Err = UnknownStopReason;

    fn from_str(word: &str) -> Result<Self, UnknownStopReason> {
        match word {
            "end_turn" => Ok(Self::EndTurn),
            "interrupted" => Ok(Self::Interrupted),
            "requires_action" => Ok(Self::RequiresAction),
            "budget_reached" => Ok(Self::BudgetReached),
            "max_turns" => Ok(Self::MaxTurns),
            "timed_out" => Ok(Self::TimedOut),
            "sandbox_lost" => Ok(Self::SandboxLost),
            "error" => Ok(Self::Error),
            "retries_exhausted" => Ok(Self::RetriesExhausted),
            "refusal" => Ok(Self::Refusal),
            other => Err(UnknownStopReason(other.to_owned())),
        }
    }
}
