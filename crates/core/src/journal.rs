//! What a sandbox-agent writes down about its session, to be taken into the session's log.

use serde::{Deserialize, Serialize};

use crate::id::{EventId, TurnId};
use crate::session::EventBody;
use crate::turn::StopReason;

/// One entry of the journal. Entries are numbered per epoch; the number travels beside the entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// The harness has been given the turn's prompt.
    TurnStarted { turn_id: TurnId },
    /// A finished item. Its id was minted when its preview began.
    Event { turn_id: Option<TurnId>, id: EventId, body: EventBody },
    /// The harness has been told the answer to a call that waited; from here on it is a call like any other.
    ActionResumed { turn_id: TurnId, event_id: EventId },
    /// The turn is over. Exactly one for each turn that was started.
    TurnEnded {
        turn_id: TurnId,
        stop_reason: StopReason,
        /// For ends that are errors: a sentence a person can act on.
        #[serde(default)]
        message: Option<String>,
    },
    /// The harness's own name for the session, needed to resume it in the next sandbox.
    HarnessSession { id: String },
}

impl Entry {
    /// Whether a sandbox may write this event into a session's log. The rest of the event types belongs to the platform
    /// or to the user, and a journal that holds one is forged or broken.
    pub fn is_allowed(&self) -> bool {
        match self {
            Self::Event { body, .. } => body.may_come_from_sandbox(),
            Self::TurnStarted { .. }
            | Self::ActionResumed { .. }
            | Self::TurnEnded { .. }
            | Self::HarnessSession { .. } => true,
        }
    }
}
