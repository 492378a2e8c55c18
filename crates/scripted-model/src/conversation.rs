//! The three request shapes, normalised into one conversation.

use std::collections::VecDeque;

use serde_json::Value;

use crate::tool::{Invocation, Tool, Toolbox};

/// Blocks that agents and platforms put into a user's message beside what the user wrote.
///
/// They are remembered (`@recall` sees them) but never carried out: an old transcript handed over as
/// context must not run again.
const ADDED_BLOCKS: [&str; 14] = [
    "system-reminder",
    "system_reminder",
    "environment_context",
    "environment_details",
    "user_instructions",
    "INSTRUCTIONS",
    "skill",
    "skills",
    "context",
    "conversation_history",
    "session_history",
    "transcript",
    "turn_aborted",
    "local-command-stdout",
];

/// A reminder that tells the agent to make a call, which a lost sandbox left open, has it in these words.
const REMINDER: &str = "system-reminder";
const ORDER: &str = "Make exactly this call now: ";

/// What a request says, whichever API it came by.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversation {
    /// The model's name as the caller knows it.
    pub model: String,
    pub is_streamed: bool,
    pub tools: Toolbox,
    /// The newest text a user really wrote; empty when there is none.
    pub script: String,
    /// Everything before the script, oldest first.
    pub history: Vec<String>,
    /// How many tool results of the script came after it: which reply is due.
    pub tool_results: usize,
    /// A call that a reminder tells to make now, before the script goes on.
    pub order: Option<Invocation>,
}

/// One thing somebody put into the conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    User(String),
    ToolResult(String),
    /// The system prompt and what the assistant said.
    Other(String),
}

impl Conversation {
    /// Reads a body of `/v1/chat/completions`.
    pub fn from_chat(body: &Value) -> Self {
        let entries = list(body, "messages").map(|message| {
            let text = text_of(message.get("content"));
            match string(message, "role") {
                "user" => Entry::User(text),
                "tool" | "function" => Entry::ToolResult(text),
                _ => Entry::Other(text),
            }
        });
        let tools = list(body, "tools").filter_map(|tool| {
            let function = tool.get("function")?;
            Some(tool_of(string(function, "name"), function.get("parameters")))
        });
        Self::assemble(body, &entries.collect::<Vec<_>>(), Toolbox::new(tools))
    }

    /// Reads a body of `/v1/responses`.
    pub fn from_responses(body: &Value) -> Self {
        let mut entries = vec![Entry::Other(text_of(body.get("instructions")))];
        match body.get("input") {
            Some(Value::String(text)) => entries.push(Entry::User(text.clone())),
            _ => entries.extend(list(body, "input").map(|item| {
                match (string(item, "type"), string(item, "role")) {
                    ("function_call_output" | "custom_tool_call_output", _) => {
                        Entry::ToolResult(text_of(item.get("output")))
                    }
                    (_, "user") => Entry::User(text_of(item.get("content"))),
                    _ => Entry::Other(text_of(item.get("content"))),
                }
            })),
        }
        let tools = list(body, "tools")
            .filter(|tool| string(tool, "type") == "function")
            .map(|tool| tool_of(string(tool, "name"), tool.get("parameters")));
        Self::assemble(body, &entries, Toolbox::new(tools))
    }

    /// Reads a body of `/v1/messages`.
    pub fn from_messages(body: &Value) -> Self {
        let mut entries = vec![Entry::Other(text_of(body.get("system")))];
        for message in list(body, "messages") {
            let content = message.get("content");
            if string(message, "role") == "user" {
                entries.extend(user_entries(content));
            } else {
                entries.push(Entry::Other(text_of(content)));
            }
        }
        let tools =
            list(body, "tools").map(|tool| tool_of(string(tool, "name"), tool.get("input_schema")));
        Self::assemble(body, &entries, Toolbox::new(tools))
    }

    fn assemble(body: &Value, entries: &[Entry], tools: Toolbox) -> Self {
        let newest = entries.iter().rposition(Entry::is_written_by_a_user);
        let (before, from_script) = entries.split_at(newest.unwrap_or(entries.len()));
        let (script, added) =
            from_script.first().map(Entry::text).map(separate).unwrap_or_default();
        let (order, tool_results) = due(from_script);
        Self {
            model: string(body, "model").to_owned(),
            is_streamed: body.get("stream").and_then(Value::as_bool).unwrap_or_default(),
            tools,
            script,
            history: before.iter().map(|entry| entry.text().to_owned()).chain(added).collect(),
            tool_results,
            order,
        }
    }
}

impl Entry {
    fn text(&self) -> &str {
        match self {
            Self::User(text) | Self::ToolResult(text) | Self::Other(text) => text,
        }
    }

    fn is_written_by_a_user(&self) -> bool {
        matches!(self, Self::User(text) if !separate(text).0.is_empty())
    }
}

/// What is due after the script: the call of a reminder that has no result yet, and which reply of the script. The result of a call that
/// a reminder told to make is none of the script's, whose own call has one already: agents tell the model that it was broken off.
fn due(from_script: &[Entry]) -> (Option<Invocation>, usize) {
    let (mut orders, mut results) = (VecDeque::new(), 0);
    for entry in from_script {
        match entry {
            Entry::ToolResult(_) if orders.pop_front().is_some() => {}
            Entry::ToolResult(_) => results += 1,
            Entry::User(text) => {
                let ordered: VecDeque<_> = orders_in(text).collect();
                if !ordered.is_empty() {
                    orders = ordered;
                }
            }
            Entry::Other(_) => {}
        }
    }
    (orders.pop_front(), results)
}

fn orders_in(text: &str) -> impl Iterator<Item = Invocation> {
    let (_, added) = separate(text);
    let reminders = added.into_iter().filter(|block| block.starts_with(&format!("<{REMINDER}")));
    let lines = reminders.flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>());
    lines.filter_map(|line| {
        let (name, arguments) = line.split_once(ORDER)?.1.split_once(' ')?;
        let arguments = serde_json::from_str(arguments).ok()?;
        Some(Invocation { name: name.to_owned(), arguments })
    })
}

/// The Messages API sends tool results inside user messages, between or before texts.
fn user_entries(content: Option<&Value>) -> Vec<Entry> {
    let Some(blocks) = content.and_then(Value::as_array) else {
        return vec![Entry::User(text_of(content))];
    };
    let mut entries = Vec::new();
    for block in blocks {
        if string(block, "type") == "tool_result" {
            entries.push(Entry::ToolResult(text_of(block.get("content"))));
        } else if let Some(text) = block.get("text").and_then(Value::as_str) {
            match entries.last_mut() {
                Some(Entry::User(joined)) => {
                    joined.push('\n');
                    joined.push_str(text);
                }
                _ => entries.push(Entry::User(text.to_owned())),
            }
        }
    }
    entries
}

/// Parts what a user wrote from the blocks that were added to it.
fn separate(text: &str) -> (String, Vec<String>) {
    let mut written = text.to_owned();
    let mut added = Vec::new();
    for tag in ADDED_BLOCKS {
        while let Some((start, end)) = block_range(&written, tag) {
            added.push(written.drain(start..end).collect());
        }
    }
    (unquoted(written.trim()), added)
}

/// `opencode run` puts its argument into quotes, so that a script's first line would be none.
fn unquoted(text: &str) -> String {
    let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match inner.filter(|inner| inner.starts_with('@')) {
        Some(script) => script.replace(r#"\""#, "\""),
        None => text.to_owned(),
    }
}

/// Where the first whole `<tag …>…</tag>` lies, in bytes.
fn block_range(text: &str, tag: &str) -> Option<(usize, usize)> {
    let closing = format!("</{tag}>");
    let opening = format!("<{tag}");
    let ends_name = |rest: &str| rest.starts_with('>') || rest.starts_with(char::is_whitespace);
    let start = text
        .match_indices(&opening)
        .map(|(start, _)| start)
        .find(|start| text.get(start + opening.len()..).is_some_and(ends_name))?;
    let length = text.get(start..)?.find(&closing)? + closing.len();
    Some((start, start + length))
}

/// The text of a content that is a string or a list of parts; other parts (images) say nothing.
fn text_of(content: Option<&Value>) -> String {
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let texts = parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str));
            texts.collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

fn list<'body>(body: &'body Value, name: &str) -> impl Iterator<Item = &'body Value> {
    body.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn string<'body>(value: &'body Value, name: &str) -> &'body str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn tool_of(name: &str, schema: Option<&Value>) -> Tool {
    Tool { name: name.to_owned(), schema: schema.cloned().unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn chat(messages: &Value) -> Conversation {
        Conversation::from_chat(&json!({"model": "demo", "messages": messages}))
    }

    #[test]
    fn the_newest_user_text_is_the_script_and_results_after_it_are_counted() {
        let conversation = chat(&json!([
            {"role": "system", "content": "be good"},
            {"role": "user", "content": "old"},
            {"role": "tool", "content": "old result"},
            {"role": "user", "content": [{"type": "text", "text": "@run a"}, {"type": "text", "text": "@say b"}]},
            {"role": "assistant", "content": null, "tool_calls": []},
            {"role": "tool", "content": [{"type": "text", "text": "new result"}]},
        ]));
        assert_eq!(conversation.script, "@run a\n@say b");
        assert_eq!(conversation.history, ["be good", "old", "old result"]);
        assert_eq!(conversation.tool_results, 1);
    }

    #[test]
    fn what_agents_add_to_a_user_message_is_no_script_but_can_be_remembered() {
        let conversation = chat(&json!([
            {"role": "user", "content": "<skill name=\"x\">\n@run rm\n</skill>\n@say hi\n<system-reminder>plan</system-reminder>"},
            {"role": "tool", "content": "done"},
            {"role": "user", "content": "<environment_context>cwd</environment_context>"},
        ]));
        assert_eq!(conversation.script, "@say hi");
        assert_eq!(conversation.tool_results, 1);
        assert_eq!(
            conversation.history,
            ["<system-reminder>plan</system-reminder>", "<skill name=\"x\">\n@run rm\n</skill>"]
        );
    }

    #[test]
    fn a_call_that_a_reminder_orders_is_due_once_and_the_script_goes_on_after_its_own_result() {
        let reminder = "<system-reminder>\nAllowed. Make exactly this call now: bash {\"command\":\"b\"}\nContinue.\n</system-reminder>";
        let mut messages = vec![
            json!({"role": "user", "content": "@run a\n@run b\n@run c"}),
            json!({"role": "tool", "content": "a"}),
            json!({"role": "tool", "content": "broken off"}),
            json!({"role": "user", "content": reminder}),
        ];
        let due = |messages: &[Value]| {
            let conversation = chat(&json!(messages));
            (conversation.order, conversation.tool_results)
        };
        let order = Invocation {
            name: "bash".to_owned(),
            arguments: json!({"command": "b"}).as_object().unwrap().clone(),
        };
        assert_eq!(due(&messages), (Some(order), 2));
        messages.push(json!({"role": "tool", "content": "b"}));
        assert_eq!(due(&messages), (None, 2));
        messages.push(json!({"role": "tool", "content": "c"}));
        assert_eq!(due(&messages), (None, 3));
    }

    #[test]
    fn an_order_outside_a_reminder_is_none() {
        let order = "Make exactly this call now: bash {\"command\":\"b\"}";
        let fenced =
            format!("<conversation_history>{order}</conversation_history>\n@say hi\n{order}");
        let conversation = chat(&json!([{"role": "user", "content": fenced}]));
        assert!(conversation.order.is_none());
    }

    #[test]
    fn a_script_in_quotes_is_freed_of_them_and_other_text_keeps_its_own() {
        let script = |text: &str| chat(&json!([{"role": "user", "content": text}])).script;
        assert_eq!(script(r#""@run echo \"a b\"""#), r#"@run echo "a b""#);
        assert_eq!(script(r#""yes" or "no""#), r#""yes" or "no""#);
    }

    #[test]
    fn a_tag_that_is_never_closed_or_only_begins_alike_is_the_users_own_text() {
        let text = "<context>\n<skilled>@say hi</skilled>";
        assert_eq!(chat(&json!([{"role": "user", "content": text}])).script, text);
    }

    #[test]
    fn a_request_without_user_text_has_an_empty_script() {
        let conversation = chat(&json!([{"role": "assistant", "content": "hello"}]));
        assert_eq!((conversation.script.as_str(), conversation.tool_results), ("", 0));
    }

    #[test]
    fn tool_results_in_the_messages_api_are_blocks_of_user_messages() {
        let conversation = Conversation::from_messages(&json!({
            "model": "demo", "stream": true, "system": [{"type": "text", "text": "be good"}],
            "tools": [{"name": "Bash", "input_schema": {"type": "object"}}],
            "messages": [
                {"role": "user", "content": "@run a\n@run b"},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "Bash", "input": {}}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "x"}]},
                    {"type": "text", "text": "<system-reminder>todo</system-reminder>"},
                ]},
            ],
        }));
        assert_eq!(conversation.script, "@run a\n@run b");
        assert_eq!(conversation.tool_results, 1);
        assert_eq!(conversation.history, ["be good"]);
        assert!(conversation.is_streamed);
        assert_eq!(conversation.tools.names(), ["Bash"]);
    }

    #[test]
    fn text_beside_a_tool_result_is_a_new_script_of_which_nothing_is_done_yet() {
        let conversation = Conversation::from_messages(&json!({"messages": [
            {"role": "user", "content": "@run a"},
            {"role": "user", "content": [
                {"type": "tool_result", "content": "refused"}, {"type": "text", "text": "@say stop"},
            ]},
        ]}));
        assert_eq!((conversation.script.as_str(), conversation.tool_results), ("@say stop", 0));
        assert_eq!(conversation.history, ["", "@run a", "refused"]);
    }

    #[test]
    fn tool_results_in_the_responses_api_are_items_of_their_own() {
        let conversation = Conversation::from_responses(&json!({
            "model": "demo", "instructions": "be good",
            "tools": [
                {"type": "function", "name": "exec_command", "parameters": {}},
                {"type": "web_search"},
            ],
            "input": [
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "@run a"}]},
                {"type": "function_call", "call_id": "1", "name": "exec_command", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "1", "output": "x"},
                {"type": "custom_tool_call_output", "call_id": "2", "output": "y"},
            ],
        }));
        assert_eq!((conversation.script.as_str(), conversation.tool_results), ("@run a", 2));
        assert_eq!(conversation.history, ["be good"]);
        assert_eq!(conversation.tools.names(), ["exec_command"]);
    }

    #[test]
    fn the_input_of_the_responses_api_may_be_a_bare_string() {
        assert_eq!(Conversation::from_responses(&json!({"input": "@say hi"})).script, "@say hi");
    }
}
