//! `session/update`: what a harness tells about its work. Fields that are not needed, and kinds that are not known, are passed over.

use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "sessionUpdate", rename_all = "snake_case")]
pub(in crate::supervise) enum Update {
    /// Only in the replay of a loaded session.
    UserMessageChunk(Chunk),
    AgentMessageChunk(Chunk),
    AgentThoughtChunk(Chunk),
    ToolCall(ToolCall),
    #[serde(rename = "tool_call_update")]
    ToolCallChanged(ToolCall),
    #[serde(other)]
    Other,
}

/// A piece of a message. Pieces of one message share its id, where the harness sends any.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::supervise) struct Chunk {
    #[serde(default)]
    pub(in crate::supervise) message_id: Option<String>,
    pub(in crate::supervise) content: Value,
}

/// A tool call or what is new about it. What is absent has not changed.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::supervise) struct ToolCall {
    #[serde(rename = "toolCallId")]
    pub(in crate::supervise) id: String,
    #[serde(default)]
    pub(in crate::supervise) title: Option<String>,
    #[serde(default)]
    pub(in crate::supervise) kind: Option<String>,
    #[serde(default)]
    pub(in crate::supervise) status: Option<ToolCallStatus>,
    #[serde(default)]
    pub(in crate::supervise) raw_input: Option<Value>,
    #[serde(default)]
    pub(in crate::supervise) raw_output: Option<Value>,
    #[serde(default)]
    pub(in crate::supervise) content: Option<Vec<Value>>,
    #[serde(default, rename = "_meta")]
    pub(in crate::supervise) meta: Option<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::supervise) enum ToolCallStatus {
    Pending,
    InProgress,
    Completed,
    Failed,
}

impl Chunk {
    /// Its text; other content has a stand-in, so that the log says that there was something.
    pub(in crate::supervise) fn text(&self) -> String {
        let field = |name| self.content.get(name).and_then(Value::as_str);
        match field("type") {
            Some("text") => field("text").unwrap_or_default().to_owned(),
            Some("resource_link") => field("uri").unwrap_or_default().to_owned(),
            Some(other) => format!("[{other}]"),
            None => String::new(),
        }
    }
}
