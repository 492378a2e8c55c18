//! What a person or a client has to do before a turn can go on.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::id::EventId;
use crate::session::ContentBlock;

/// One call of a turn that waits for an answer, or has one that the harness has not taken up yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// The event of the call; answers name it.
    pub event_id: EventId,
    pub kind: ActionKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<ActionAnswer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// A person allows or denies the call.
    Confirmation,
    /// The client carries the call out and tells the result.
    CustomTool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum ActionAnswer {
    Allow,
    Deny {
        /// Why, for the agent to read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    Result {
        content: Vec<ContentBlock>,
        is_error: bool,
    },
}

/// An answered call with what it was, for a sandbox that does not know it: its predecessor made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnsweredAction {
    pub event_id: EventId,
    pub kind: ActionKind,
    /// The tool, as the log names it.
    pub name: String,
    pub input: Map<String, Value>,
    pub answer: ActionAnswer,
}
