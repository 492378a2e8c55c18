//! What can have happened in a session: the entries of its log, in the shapes of the Managed Agents wire format.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::agent::AgentSnapshot;
use crate::budget::WireBudget;
use crate::egress::AlarmKind;
use crate::id::{EventId, TurnId};
use crate::session::WireUsage;
use crate::turn::{ActionKind, StopReason};

/// One immutable entry of a session's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Event {
    pub id: EventId,
    /// 1, 2, 3 … in the session, without gaps. `seq` on the wire.
    #[serde(rename = "seq")]
    pub number: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn_id: Option<TurnId>,
    /// When it was taken into the log; for what a user sent, when its turn began, so null while that waits in the queue.
    pub processed_at: Option<DateTime<Utc>>,
    #[serde(flatten)]
    pub body: EventBody,
}

/// An event as a client sent it, with the id that the gateway minted for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientEvent {
    pub id: EventId,
    pub body: EventBody,
}

/// The kinds of events, by their wire names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type")]
pub enum EventBody {
    #[serde(rename = "user.message")]
    UserMessage { content: Vec<ContentBlock> },
    #[serde(rename = "user.interrupt")]
    UserInterrupt {},
    #[serde(rename = "user.tool_confirmation")]
    UserToolConfirmation {
        tool_use_id: EventId,
        result: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deny_message: Option<String>,
    },
    #[serde(rename = "user.custom_tool_result")]
    UserCustomToolResult {
        custom_tool_use_id: EventId,
        #[serde(default)]
        content: Vec<ContentBlock>,
        #[serde(default)]
        is_error: bool,
    },

    #[serde(rename = "agent.message")]
    AgentMessage { content: Vec<ContentBlock> },
    /// A sign of progress. The wire format has no text here; ours goes into a field beside.
    #[serde(rename = "agent.thinking")]
    AgentThinking {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        thinking: Option<String>,
    },
    #[serde(rename = "agent.tool_use")]
    AgentToolUse {
        name: String,
        #[cfg_attr(feature = "openapi", schema(value_type = Object))]
        input: Map<String, Value>,
        /// `allow`, `ask` or `deny`. With `ask` the turn waits for a `user.tool_confirmation`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        evaluated_permission: Option<String>,
    },
    #[serde(rename = "agent.tool_result")]
    AgentToolResult { tool_use_id: EventId, content: Vec<ContentBlock>, is_error: bool },
    /// A call that the client carries out. The id of the event is the id of the call.
    #[serde(rename = "agent.custom_tool_use")]
    AgentCustomToolUse {
        name: String,
        #[cfg_attr(feature = "openapi", schema(value_type = Object))]
        input: Map<String, Value>,
    },
    #[serde(rename = "agent.thread_context_compacted")]
    AgentThreadContextCompacted {},

    #[serde(rename = "session.status_running")]
    SessionStatusRunning {},
    #[serde(rename = "session.status_idle")]
    SessionStatusIdle { stop_reason: StoppedBecause },
    #[serde(rename = "session.status_rescheduled")]
    SessionStatusRescheduled {
        #[serde(default)]
        reason: String,
        #[serde(default)]
        message: String,
    },
    #[serde(rename = "session.status_terminated")]
    SessionStatusTerminated {
        #[serde(default)]
        reason: String,
    },
    #[serde(rename = "session.error")]
    SessionError { error: WireError },
    #[serde(rename = "session.updated")]
    SessionUpdated {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
        title: Option<Option<String>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        metadata: Option<BTreeMap<String, String>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<Box<AgentSnapshot>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<WireBudget>))]
        budget: Option<Option<WireBudget>>,
    },
    /// What the session has spent by now.
    #[serde(rename = "session.usage")]
    SessionUsage {
        usage: WireUsage,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        budget: Option<WireBudget>,
    },
    /// Something was seen that must never happen: a placeholder sent where it does not belong, a value that was planted for nobody.
    #[serde(rename = "session.alarm")]
    SessionAlarm {
        kind: AlarmKind,
        message: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
        /// Whether the sandbox was ended over it.
        sandbox_ended: bool,
    },
    #[serde(rename = "session.context_restored")]
    SessionContextRestored {
        /// `native`, `transcript` or `none`.
        mode: String,
        reason: String,
        /// What could not be kept, in words; empty when nothing was lost.
        #[serde(default)]
        dropped: String,
    },
    #[serde(rename = "session.deleted")]
    SessionDeleted {},

    #[serde(rename = "span.model_request_start")]
    SpanModelRequestStart {},
    #[serde(rename = "span.model_request_end")]
    SpanModelRequestEnd { model_request_start_id: EventId, is_error: bool, model_usage: ModelUsage },
}

impl EventBody {
    /// The wire name.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::UserMessage { .. } => "user.message",
            Self::UserInterrupt { .. } => "user.interrupt",
            Self::UserToolConfirmation { .. } => "user.tool_confirmation",
            Self::UserCustomToolResult { .. } => "user.custom_tool_result",
            Self::AgentMessage { .. } => "agent.message",
            Self::AgentThinking { .. } => "agent.thinking",
            Self::AgentToolUse { .. } => "agent.tool_use",
            Self::AgentToolResult { .. } => "agent.tool_result",
            Self::AgentCustomToolUse { .. } => "agent.custom_tool_use",
            Self::AgentThreadContextCompacted { .. } => "agent.thread_context_compacted",
            Self::SessionStatusRunning { .. } => "session.status_running",
            Self::SessionStatusIdle { .. } => "session.status_idle",
            Self::SessionStatusRescheduled { .. } => "session.status_rescheduled",
            Self::SessionStatusTerminated { .. } => "session.status_terminated",
            Self::SessionError { .. } => "session.error",
            Self::SessionUpdated { .. } => "session.updated",
            Self::SessionUsage { .. } => "session.usage",
            Self::SessionAlarm { .. } => "session.alarm",
            Self::SessionContextRestored { .. } => "session.context_restored",
            Self::SessionDeleted { .. } => "session.deleted",
            Self::SpanModelRequestStart { .. } => "span.model_request_start",
            Self::SpanModelRequestEnd { .. } => "span.model_request_end",
        }
    }

    /// Whether it makes its turn wait, and for what.
    pub fn required_action(&self) -> Option<ActionKind> {
        match self {
            Self::AgentToolUse { evaluated_permission, .. } => {
                let asks = evaluated_permission.as_deref() == Some("ask");
                asks.then_some(ActionKind::Confirmation)
            }
            Self::AgentCustomToolUse { .. } => Some(ActionKind::CustomTool),
            Self::UserMessage { .. }
            | Self::UserInterrupt { .. }
            | Self::UserToolConfirmation { .. }
            | Self::UserCustomToolResult { .. }
            | Self::AgentMessage { .. }
            | Self::AgentThinking { .. }
            | Self::AgentToolResult { .. }
            | Self::AgentThreadContextCompacted { .. }
            | Self::SessionStatusRunning { .. }
            | Self::SessionStatusIdle { .. }
            | Self::SessionStatusRescheduled { .. }
            | Self::SessionStatusTerminated { .. }
            | Self::SessionError { .. }
            | Self::SessionUpdated { .. }
            | Self::SessionUsage { .. }
            | Self::SessionAlarm { .. }
            | Self::SessionContextRestored { .. }
            | Self::SessionDeleted { .. }
            | Self::SpanModelRequestStart { .. }
            | Self::SpanModelRequestEnd { .. } => None,
        }
    }

    /// Whether it is the end of a turn, and no mere halt of one that waits for an answer or for money.
    pub fn is_end_of_turn(&self) -> bool {
        if let Self::SessionStatusIdle { stop_reason } = self {
            !stop_reason.reason.is_halt()
        } else {
            false
        }
    }

    /// Whether a client may send it.
    pub fn may_come_from_client(&self) -> bool {
        self.type_name().starts_with("user.")
    }

    /// Whether a sandbox may report it: what the agent did, never what a person or the platform decided.
    pub fn may_come_from_sandbox(&self) -> bool {
        match self {
            Self::AgentMessage { .. }
            | Self::AgentThinking { .. }
            | Self::AgentToolUse { .. }
            | Self::AgentToolResult { .. }
            | Self::AgentCustomToolUse { .. }
            | Self::AgentThreadContextCompacted { .. }
            | Self::SessionContextRestored { .. }
            | Self::SpanModelRequestStart { .. }
            | Self::SpanModelRequestEnd { .. } => true,
            Self::UserMessage { .. }
            | Self::UserInterrupt { .. }
            | Self::UserToolConfirmation { .. }
            | Self::UserCustomToolResult { .. }
            | Self::SessionStatusRunning { .. }
            | Self::SessionStatusIdle { .. }
            | Self::SessionStatusRescheduled { .. }
            | Self::SessionStatusTerminated { .. }
            | Self::SessionError { .. }
            | Self::SessionUpdated { .. }
            | Self::SessionUsage { .. }
            | Self::SessionAlarm { .. }
            | Self::SessionDeleted { .. } => false,
        }
    }
}

/// A piece of a message or of a tool's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ContentBlock {
    Text {
        text: String,
    },
    Image {
        source: Value,
    },
    Document {
        source: Value,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        title: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        context: Option<String>,
    },
    SearchResult {
        title: String,
        source: String,
        content: Vec<Value>,
        citations: Value,
    },
    Redacted {},
}

impl ContentBlock {
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }

    /// The text of a text block.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text { text } => Some(text),
            Self::Image { .. }
            | Self::Document { .. }
            | Self::SearchResult { .. }
            | Self::Redacted {} => None,
        }
    }
}

/// The `stop_reason` of an idle event: the wire format's word as `type`, ours as `reason` beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StoppedBecause {
    #[serde(rename = "type")]
    pub kind: String,
    pub reason: StopReason,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_ids: Option<Vec<EventId>>,
}

impl StoppedBecause {
    /// The turn waits for answers to these calls.
    pub fn requires_action(event_ids: Vec<EventId>) -> Self {
        Self { event_ids: Some(event_ids), ..StopReason::RequiresAction.into() }
    }
}

impl From<StopReason> for StoppedBecause {
    fn from(reason: StopReason) -> Self {
        Self { kind: reason.wire_word().to_owned(), reason, event_ids: None }
    }
}

/// The `error` of a `session.error` event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WireError {
    #[serde(rename = "type")]
    pub kind: String,
    pub message: String,
    pub retry_status: RetryStatus,
    /// Our stable word beside the wire format's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RetryStatus {
    Retrying,
    Exhausted,
    Terminal,
}

/// Tokens of one model request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct ModelUsage {
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cache_creation_input_tokens: u64,
    pub cache_read_input_tokens: u64,
}
