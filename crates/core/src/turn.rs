//! A turn: everything from a user's message until the agent is idle again.

mod action;

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::id::{EventId, TurnId};
use crate::sandbox::Epoch;

pub use action::{Action, ActionAnswer, ActionKind, AnsweredAction};

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
    /// Calls that wait for an answer, or whose answer the harness has not taken up yet.
    pub actions: Vec<Action>,
    /// A user wants it ended; the sandbox that has it was told so.
    pub interrupt_requested: bool,
    pub created_at: DateTime<Utc>,
    /// When the first sandbox was given it.
    pub started_at: Option<DateTime<Utc>>,
}

/// Where a turn stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TurnState {
    Queued,
    Dispatched {
        epoch: Epoch,
    },
    Running {
        epoch: Epoch,
    },
    /// Stands still until its actions are answered. The sandbox of `epoch` holds the calls open, if it still lives.
    Waiting {
        epoch: Epoch,
    },
    Ended {
        reason: StopReason,
        at: DateTime<Utc>,
    },
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

impl TurnState {
    pub fn as_word(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Dispatched { .. } => "dispatched",
            Self::Running { .. } => "running",
            Self::Waiting { .. } => "waiting",
            Self::Ended { .. } => "ended",
        }
    }
}

impl Turn {
    /// Whether it stands still until somebody acts.
    pub fn is_waiting(&self) -> bool {
        matches!(self.state, TurnState::Waiting { .. })
    }

    /// The calls that nobody has answered yet, in the order in which they came.
    pub fn unanswered(&self) -> Vec<EventId> {
        let open = self.actions.iter().filter(|action| action.answer.is_none());
        open.map(|action| action.event_id).collect()
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

    /// Whether the turn only stands still: it goes on when the call is answered, or the budget raised.
    pub fn is_halt(self) -> bool {
        matches!(self, Self::RequiresAction | Self::BudgetReached)
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
