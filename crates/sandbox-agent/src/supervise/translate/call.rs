//! A tool call under way: what is known of it so far.

use platform_core::id::EventId;
use platform_core::session::{ContentBlock, EventBody};
use serde_json::{Map, Value};

use crate::supervise::acp::ToolCall;

/// How much of a tool's result goes into the log.
const LONGEST_RESULT: usize = 256 * 1024;

pub(super) struct Call {
    /// Of the tool-use event, and so of the call.
    id: EventId,
    name: Option<String>,
    input: Map<String, Value>,
    output: Option<String>,
    is_announced: bool,
}

impl Call {
    pub(super) fn begin(id: EventId) -> Self {
        Self { id, name: None, input: Map::new(), output: None, is_announced: false }
    }

    /// Takes in what an update says anew.
    pub(super) fn learn(&mut self, call: &ToolCall) {
        if self.name.is_none() {
            self.name = name_of(call);
        }
        match &call.raw_input {
            Some(Value::Object(input)) if !input.is_empty() => self.input.clone_from(input),
            Some(Value::Object(_) | Value::Null) | None => {}
            Some(other) => self.input = Map::from_iter([("input".to_owned(), other.clone())]),
        }
        if let Some(output) = output_of(call) {
            self.output = Some(output);
        }
    }

    pub(super) fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// The tool-use event, the first time it is asked for.
    pub(super) fn announce(&mut self) -> Option<(EventId, EventBody)> {
        if std::mem::replace(&mut self.is_announced, true) {
            return None;
        }
        let name = self.name.clone().unwrap_or_else(|| "tool".to_owned());
        let evaluated_permission = Some("allow".to_owned());
        let body =
            EventBody::AgentToolUse { name, input: self.input.clone(), evaluated_permission };
        Some((self.id, body))
    }

    pub(super) fn into_result(self, is_error: bool) -> EventBody {
        let text = cut(self.output.unwrap_or_default());
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
