//! A tool call under way: what is known of it so far.

use platform_core::agent::Permission;
use platform_core::id::EventId;
use platform_core::session::{ContentBlock, EventBody};
use serde_json::{Map, Value};

use crate::supervise::acp::{ToolCall, ToolCallStatus};

/// How much of a tool's result goes into the log.
const LONGEST_RESULT: usize = 256 * 1024;

pub(super) struct Call {
    /// Of the tool-use event, and so of the call.
    pub(super) id: EventId,
    pub(super) input: Map<String, Value>,
    pub(super) leave: Leave,
    /// Whether the client was called for it.
    pub(super) is_the_client_s: bool,
    name: Option<String>,
    /// What the harness wants leave for, where it tells no other input.
    asked_input: Map<String, Value>,
    is_complete: bool,
    output: Option<String>,
    is_announced: bool,
}

/// Whether the call may be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Leave {
    /// The harness has not asked, or its input was not known yet.
    Open,
    Given,
    /// Somebody is asked, and has not answered.
    Awaited,
    /// Refused, for this reason.
    Refused(String),
}

impl Call {
    pub(super) fn begin(id: EventId) -> Self {
        Self {
            id,
            input: Map::new(),
            leave: Leave::Open,
            is_the_client_s: false,
            name: None,
            asked_input: Map::new(),
            is_complete: false,
            output: None,
            is_announced: false,
        }
    }

    /// Takes in what an update says anew.
    pub(super) fn learn(&mut self, call: &ToolCall) {
        if self.name.is_none() {
            self.name = name_of(call);
        }
        if let Some(input) = input_of(call) {
            self.input = input;
            // While it is pending an input may be a part only.
            self.is_complete |= !matches!(call.status, Some(ToolCallStatus::Pending) | None);
        }
        if let Some(output) = output_of(call) {
            self.output = Some(output);
        }
    }

    /// Takes in what a request for leave says. Its input may be other words for the same call, so it counts only where there is no
    /// other or it says the same.
    pub(super) fn learn_asked(&mut self, call: &ToolCall) {
        let is_new = self.name.is_none();
        if is_new {
            self.name = name_of(call);
        }
        self.asked_input = input_of(call).unwrap_or_default();
        let says_the_same = !self.input.is_empty() && self.asked_input == self.input;
        self.is_complete |= is_new || says_the_same;
        if is_new {
            self.input.clone_from(&self.asked_input);
        }
    }

    /// Nothing more will be told of the input: what is known must do.
    pub(super) fn complete(&mut self) {
        if self.input.is_empty() {
            self.input.clone_from(&self.asked_input);
        }
        self.is_complete = true;
    }

    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    pub(super) fn is_announced(&self) -> bool {
        self.is_announced
    }

    pub(super) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("tool")
    }

    /// It is the call that the log has under this id already.
    pub(super) fn adopt(&mut self, id: EventId) {
        self.id = id;
        self.is_announced = true;
        self.leave = Leave::Given;
    }

    /// The tool-use event, the first time it is asked for.
    pub(super) fn announce(&mut self) -> Option<(EventId, EventBody)> {
        if std::mem::replace(&mut self.is_announced, true) {
            return None;
        }
        let permission = match self.leave {
            Leave::Open | Leave::Given => Permission::Allow,
            Leave::Awaited => Permission::Ask,
            Leave::Refused(_) => Permission::Deny,
        };
        let body = EventBody::AgentToolUse {
            name: self.name().to_owned(),
            input: self.input.clone(),
            evaluated_permission: Some(permission.as_word().to_owned()),
        };
        Some((self.id, body))
    }

    /// What it gave back. Of one that was refused, why: the harness has only words of its own for it.
    pub(super) fn into_result(self, is_error: bool) -> EventBody {
        let (text, is_error) = match self.leave {
            Leave::Refused(why) => (why, true),
            Leave::Open | Leave::Given | Leave::Awaited => {
                (cut(self.output.unwrap_or_default()), is_error)
            }
        };
        let content = if text.is_empty() { Vec::new() } else { vec![ContentBlock::text(text)] };
        EventBody::AgentToolResult { tool_use_id: self.id, content, is_error }
    }

    /// The result of a call that never ended: what it said so far, and why there is no more.
    pub(super) fn result_of_broken_off(mut self, why: &str) -> EventBody {
        self.output = Some(match self.output.filter(|output| !output.is_empty()) {
            Some(output) => format!("{}\n[{why}]", cut(output)),
            None => why.to_owned(),
        });
        self.into_result(true)
    }
}

fn input_of(call: &ToolCall) -> Option<Map<String, Value>> {
    match &call.raw_input {
        Some(Value::Object(input)) if !input.is_empty() => Some(input.clone()),
        Some(Value::Object(_) | Value::Null) | None => None,
        Some(other) => Some(Map::from_iter([("input".to_owned(), other.clone())])),
    }
}
/// The tool's name as the agent itself knows it. The protocol has no field for it: adapters put it into `_meta`, opencode makes it the
/// first title. A title for people (with spaces) is no name; then the kind of tool says more.
fn name_of(call: &ToolCall) -> Option<String> {
    let from_meta = call.meta.as_ref().and_then(Value::as_object).and_then(|meta| {
        meta.values().find_map(|adapter| adapter.get("toolName").and_then(Value::as_str))
    });
    let is_name = |title: &&str| !title.is_empty() && !title.contains(char::is_whitespace);
    let from_title = call.title.as_deref().filter(is_name);
    from_meta.or(from_title).or(call.kind.as_deref()).map(str::to_owned)
}

/// The text of what a tool gave back: its raw output where that has one, else the blocks for people.
fn output_of(call: &ToolCall) -> Option<String> {
    let raw = call.raw_output.as_ref();
    let from_raw = raw.and_then(|raw| {
        let field = |name| raw.get(name).and_then(Value::as_str);
        raw.as_str().or_else(|| field("output")).or_else(|| field("error"))
    });
    if let Some(text) = from_raw {
        return Some(text.to_owned());
    }
    let texts: Vec<String> = call.content.iter().flatten().filter_map(block_text).collect();
    match (texts.is_empty(), raw) {
        (false, _) => Some(texts.join("\n")),
        (true, Some(Value::Null) | None) => None,
        (true, Some(raw)) => Some(raw.to_string()),
    }
}

fn block_text(block: &Value) -> Option<String> {
    let field = |name| block.get(name).and_then(Value::as_str);
    match field("type")? {
        "content" => block.pointer("/content/text").and_then(Value::as_str).map(str::to_owned),
        "diff" => Some(format!("changed {}", field("path").unwrap_or("a file"))),
        _ => None,
    }
}

fn cut(mut text: String) -> String {
    if text.len() > LONGEST_RESULT {
        let whole = text.len();
        text.truncate(text.floor_char_boundary(LONGEST_RESULT));
        text = format!("{text}\n[cut here: {whole} bytes in all]");
    }
    text
}
