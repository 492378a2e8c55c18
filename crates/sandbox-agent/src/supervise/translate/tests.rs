use std::sync::atomic::{AtomicU64, Ordering};

use platform_core::session::ContentBlock;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;

/// 1, 2, 3 …
#[derive(Default)]
struct Counted(AtomicU64);

impl IdSource for Counted {
    fn uuid(&self) -> Uuid {
        Uuid::from_u64_pair(0, self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

fn id(number: u64) -> EventId {
    Id::from_uuid(Uuid::from_u64_pair(0, number))
}

fn turn() -> TurnId {
    Id::from_uuid(Uuid::from_u64_pair(7, 7))
}

fn update(value: Value) -> Update {
    serde_json::from_value(value).unwrap()
}

fn chunk(kind: &str, message: &str, text: &str) -> Update {
    update(json!({
        "sessionUpdate": kind, "messageId": message, "content": {"type": "text", "text": text},
    }))
}

#[expect(clippy::needless_pass_by_value, reason = "as `json!` makes it")]
fn call(kind: &str, status: &str, more: Value) -> Update {
    let mut value = json!({"sessionUpdate": kind, "toolCallId": "call_1", "status": status});
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    update(value)
}

fn preview(number: u64, kind: &str, text: Option<&str>, offset: u64) -> Produced {
    let event_id = Uuid::from_u64_pair(0, number).to_string();
    let (event_type, text) = (kind.to_owned(), text.map(str::to_owned));
    Produced::Preview(Preview { event_id, event_type, text, offset })
}

fn event(number: u64, body: EventBody) -> Produced {
    Produced::Entry(Entry::Event { turn_id: Some(turn()), id: id(number), body })
}

fn message(text: &str) -> EventBody {
    EventBody::AgentMessage { content: vec![ContentBlock::text(text)] }
}

#[expect(clippy::needless_pass_by_value, reason = "as `json!` makes it")]
fn tool_use(name: &str, input: Value) -> EventBody {
    EventBody::AgentToolUse {
        name: name.to_owned(),
        input: input.as_object().unwrap().clone(),
        evaluated_permission: Some("allow".to_owned()),
    }
}

fn tool_result(call: u64, text: &str, is_error: bool) -> EventBody {
    EventBody::AgentToolResult {
        tool_use_id: id(call),
        content: vec![ContentBlock::text(text)],
        is_error,
    }
}

/// Everything that the updates produce, and what closing adds.
fn translate(updates: impl IntoIterator<Item = Update>) -> Vec<Produced> {
    let ids = Counted::default();
    let mut translation = Translation::new(turn(), &ids);
    let mut produced: Vec<_> =
        updates.into_iter().flat_map(|update| translation.update(update)).collect();
    produced.extend(translation.close("over"));
    produced
}

#[test]
fn a_message_is_announced_once_previewed_piece_by_piece_and_then_one_event() {
    let produced = translate([
        chunk("agent_message_chunk", "m1", "Grüß "),
        chunk("agent_message_chunk", "m1", ""),
        chunk("agent_message_chunk", "m1", "Gott"),
    ]);
    assert_eq!(
        produced,
        [
            preview(1, "agent.message", None, 0),
            preview(1, "agent.message", Some("Grüß "), 0),
            preview(1, "agent.message", Some("Gott"), 7),
            event(1, message("Grüß Gott")),
        ]
    );
}

#[test]
fn a_message_ends_where_a_thought_another_message_or_a_call_begins() {
    let produced = translate([
        chunk("agent_message_chunk", "m1", "one"),
        chunk("agent_thought_chunk", "m1", "hm"),
        chunk("agent_message_chunk", "m1", "two"),
        chunk("agent_message_chunk", "m2", "three"),
        call("tool_call", "pending", json!({"title": "bash", "rawInput": {}})),
    ]);
    let events: Vec<_> =
        produced.into_iter().filter(|produced| matches!(produced, Produced::Entry(_))).collect();
    assert_eq!(
        events,
        [
            event(1, message("one")),
            event(2, EventBody::AgentThinking { thinking: Some("hm".to_owned()) }),
            event(3, message("two")),
            event(4, message("three")),
            event(5, tool_use("bash", json!({}))),
            event(6, tool_result(5, "over", true)),
        ]
    );
}

/// As opencode 1.18.33 tells it.
#[test]
fn a_call_is_written_down_when_its_input_is_complete_and_under_the_tool_s_own_name() {
    let input = json!({"command": "echo hi", "description": "run"});
    let produced = translate([
        call("tool_call", "pending", json!({"title": "bash", "kind": "execute", "rawInput": {}})),
        call("tool_call_update", "in_progress", json!({"title": "echo hi", "rawInput": input})),
        call("tool_call_update", "in_progress", json!({"title": "echo hi", "rawInput": input})),
        call(
            "tool_call_update",
            "completed",
            json!({
                "title": "echo hi",
                "content": [{"type": "content", "content": {"type": "text", "text": "hi\n"}}],
                "rawOutput": {"output": "hi\n", "metadata": {"exit": 0}},
            }),
        ),
        call("tool_call_update", "completed", json!({})),
    ]);
    assert_eq!(
        produced,
        [event(1, tool_use("bash", input)), event(2, tool_result(1, "hi\n", false))]
    );
}

#[test]
fn a_call_that_fails_at_once_still_has_its_use_before_its_result() {
    let failed = json!({
        "title": "Read /etc/shadow now", "kind": "read", "rawInput": {"path": "/etc/shadow"},
        "rawOutput": {"error": "not allowed"},
    });
    let produced = translate([call("tool_call", "failed", failed)]);
    assert_eq!(
        produced,
        [
            event(1, tool_use("read", json!({"path": "/etc/shadow"}))),
            event(2, tool_result(1, "not allowed", true)),
        ]
    );
}

#[test]
fn a_permission_request_completes_the_input() {
    let ids = Counted::default();
    let mut translation = Translation::new(turn(), &ids);
    let asked = ToolCall {
        id: "call_1".to_owned(),
        title: Some("edit".to_owned()),
        raw_input: Some(json!({"path": "a"})),
        ..ToolCall::default()
    };
    let expected = [event(1, tool_use("edit", json!({"path": "a"})))];
    assert_eq!(translation.permission_asked(&asked), expected);
    assert_eq!(translation.permission_asked(&asked), []);
}

#[test]
fn a_call_that_is_open_at_the_end_is_closed_with_what_it_said() {
    let running = json!({
        "title": "bash", "rawInput": {"command": "make"},
        "content": [{"type": "content", "content": {"type": "text", "text": "compiling"}}],
    });
    let produced = translate([call("tool_call", "in_progress", running)]);
    assert_eq!(
        produced,
        [
            event(1, tool_use("bash", json!({"command": "make"}))),
            event(2, tool_result(1, "compiling\n[over]", true)),
        ]
    );
}

#[test]
fn a_result_without_measure_is_cut_and_says_so() {
    let output = "ä".repeat(200 * 1024);
    let done =
        json!({"title": "bash", "rawInput": {"command": "x"}, "rawOutput": {"output": output}});
    let produced = translate([call("tool_call", "completed", done)]);
    let Some(Produced::Entry(Entry::Event {
        body: EventBody::AgentToolResult { content, .. },
        ..
    })) = produced.last()
    else {
        panic!("no result: {produced:?}");
    };
    let text = content[0].as_text().unwrap();
    assert!(text.ends_with("\n[cut here: 409600 bytes in all]"));
    assert!(text.len() < 257 * 1024);
}

#[test]
fn what_is_unknown_or_replayed_produces_nothing() {
    let produced = translate([
        update(json!({"sessionUpdate": "available_commands_update", "availableCommands": []})),
        update(json!({"sessionUpdate": "something_new"})),
        chunk("user_message_chunk", "m0", "hello"),
    ]);
    assert_eq!(produced, []);
}
