//! Why a command changes nothing.

use crate::budget::NanoDollars;
use crate::failure::FailureKind;
use crate::id::EventId;
use crate::sandbox::Epoch;

/// The command was understood and is refused; nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the session is archived and takes no more events; open a new one")]
    Archived,
    #[error("the session has ended and takes no more events; open a new one")]
    Terminated,
    #[error("epoch {given} is over, the session is at {current}")]
    StaleEpoch { given: Epoch, current: Epoch },
    #[error("the session's sandbox is another one")]
    OtherSandbox,
    #[error("a turn is under way; interrupt it or wait until the session is idle")]
    TurnUnderWay,
    #[error("something happened in the session meanwhile")]
    TouchedMeanwhile,
    #[error("journal entry {given} came where {expected} was expected")]
    JournalGap { given: u64, expected: u64 },
    #[error("a sandbox may not report {0}")]
    ForbiddenEntry(&'static str),
    #[error("a client may not send {0}")]
    ForbiddenEvent(&'static str),
    #[error(
        "no call {0} waits for an answer; stop_reason.event_ids of the last session.status_idle names those that do"
    )]
    NothingToAnswer(EventId),
    #[error("call {0} has been answered already")]
    AlreadyAnswered(EventId),
    #[error(
        "call {0} takes the other kind of answer: agent.tool_use a user.tool_confirmation, agent.custom_tool_use a user.custom_tool_result"
    )]
    WrongAnswer(EventId),
    #[error("the session has no event {0}; its last one is {1}")]
    NoSuchEvent(i64, i64),
    #[error("another live session of this agent has the context")]
    ContextTaken,
    #[error("a budget can be given only when the session is opened")]
    BudgetCreateOnly,
    #[error("the budget must be above what is spent already ({0} US dollars)")]
    BudgetNotRaised(NanoDollars),
    #[error("the files at the end of that turn were not kept; fork at another turn's end")]
    NoSnapshot,
}

impl Refusal {
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Archived
            | Self::Terminated
            | Self::ForbiddenEntry(_)
            | Self::ForbiddenEvent(_)
            | Self::NothingToAnswer(_)
            | Self::AlreadyAnswered(_)
            | Self::WrongAnswer(_)
            | Self::NoSuchEvent(..)
            | Self::NoSnapshot
            | Self::BudgetCreateOnly
            | Self::BudgetNotRaised(_)
            | Self::JournalGap { .. } => FailureKind::Invalid,
            Self::StaleEpoch { .. }
            | Self::OtherSandbox
            | Self::TurnUnderWay
            | Self::TouchedMeanwhile
            | Self::ContextTaken => FailureKind::Conflict,
        }
    }

    /// Stable, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Archived => "session_archived",
            Self::Terminated => "session_terminated",
            Self::StaleEpoch { .. } => "stale_epoch",
            Self::OtherSandbox => "other_sandbox",
            Self::TurnUnderWay => "turn_under_way",
            Self::TouchedMeanwhile => "touched_meanwhile",
            Self::JournalGap { .. } => "journal_gap",
            Self::ForbiddenEntry(_) => "forbidden_entry",
            Self::ForbiddenEvent(_) => "invalid_event",
            Self::NothingToAnswer(_) => "nothing_to_answer",
            Self::AlreadyAnswered(_) => "already_answered",
            Self::WrongAnswer(_) => "wrong_answer",
            Self::NoSuchEvent(..) => "no_such_event",
            Self::NoSnapshot => "no_snapshot",
            Self::BudgetCreateOnly => "budget_create_only",
            Self::BudgetNotRaised(_) => "budget_not_raised",
            Self::ContextTaken => "context_taken",
        }
    }
}
