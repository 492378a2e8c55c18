use std::sync::atomic::{AtomicU64, Ordering};

use platform_core::turn::ActionAnswer;
use serde_json::json;
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
    let policy = Policy::default();
    let mut translation = Translation::new(turn(), &ids, &policy);
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

/// Asks before `bash`; has no `edit`; the client has `add`.
fn policy() -> Policy {
    let tools = json!([
        {
            "type": "agent_toolset_20260401",
            "default_config": {"enabled": true, "permission_policy": {"type": "always_allow"}},
            "configs": [
                {"name": "bash", "enabled": true, "permission_policy": {"type": "always_ask"}},
                {"name": "edit", "enabled": false, "permission_policy": {"type": "always_allow"}},
            ],
        },
        {"type": "custom", "name": "add", "description": "", "input_schema": {"type": "object"}},
    ]);
    Policy::new(serde_json::from_value(tools).unwrap())
}

fn asked(title: &str, input: Value) -> ToolCall {
    let (id, title, raw_input) = ("call_1".to_owned(), Some(title.to_owned()), Some(input));
    ToolCall { id, title, raw_input, ..ToolCall::default() }
}

#[test]
fn a_call_that_asks_is_announced_when_its_input_is_whole_and_somebody_has_to_decide() {
    let (ids, policy) = (Counted::default(), policy());
    let mut translation = Translation::new(turn(), &ids, &policy);
    let more = json!({"title": "bash", "rawInput": {"cwd": "/workspace"}});
    assert_eq!(translation.update(call("tool_call", "pending", more)), []);
    assert_eq!(translation.leave_asked(&asked("list files", json!({"command": "ls"}))), []);
    assert_eq!(translation.decide("call_1", false), (Verdict::Later, Vec::new()));
    let input = json!({"command": "ls", "cwd": "/workspace"});
    let more = json!({"title": "list files", "rawInput": input});
    assert_eq!(translation.update(call("tool_call_update", "in_progress", more)), []);
    let body = EventBody::AgentToolUse {
        name: "bash".to_owned(),
        input: input.as_object().unwrap().clone(),
        evaluated_permission: Some("ask".to_owned()),
    };
    assert_eq!(translation.decide("call_1", false), (Verdict::Wait, vec![event(1, body)]));

    let (_, verdict, produced) = translation.answered(id(1), &ActionAnswer::Allow).unwrap();
    assert_eq!((verdict, produced), (Verdict::Allow, Vec::new()));
    assert_eq!(translation.decide("call_1", false), (Verdict::Allow, Vec::new()));
    assert!(translation.answered(id(1), &ActionAnswer::Allow).is_none());
}

#[test]
fn an_input_that_never_comes_is_what_was_asked_for() {
    let (ids, policy) = (Counted::default(), policy());
    let mut translation = Translation::new(turn(), &ids, &policy);
    translation.update(call("tool_call", "pending", json!({"title": "edit", "rawInput": {}})));
    translation.leave_asked(&asked("a file", json!({"path": "a"})));
    assert_eq!(translation.decide("call_1", false).0, Verdict::Later);
    let (verdict, produced) = translation.decide("call_1", true);
    let body = EventBody::AgentToolUse {
        name: "edit".to_owned(),
        input: json!({"path": "a"}).as_object().unwrap().clone(),
        evaluated_permission: Some("deny".to_owned()),
    };
    let why = "this agent may not use edit; the call was not made";
    assert_eq!(verdict, Verdict::Refuse);
    assert_eq!(produced, [event(1, body), event(2, tool_result(1, why, true))]);
    // What the harness says about it after that is no news.
    let more = json!({"rawOutput": {"error": "rejected"}});
    assert_eq!(translation.update(call("tool_call_update", "failed", more)), []);
    let refused = translation.take_refused();
    assert_eq!((refused[0].name.as_str(), refused[0].why.as_str()), ("edit", why));
}

#[test]
fn a_call_of_the_client_s_tools_has_one_event_and_no_result_of_the_harness() {
    let (ids, policy) = (Counted::default(), policy());
    let mut translation = Translation::new(turn(), &ids, &policy);
    let input = json!({"a": 1}).as_object().unwrap().clone();
    assert!(!translation.has_told_of("add", &input));
    let more = json!({"title": "client_add", "rawInput": {"a": 1}});
    assert_eq!(translation.update(call("tool_call", "in_progress", more)), []);
    assert!(translation.has_told_of("add", &input));
    assert!(!translation.has_told_of("add", &input), "one call was told of, not two");
    let (call_id, produced) = translation.custom_called("add".to_owned(), input.clone());
    let body = EventBody::AgentCustomToolUse { name: "add".to_owned(), input };
    let Produced::Entry(Entry::Event { id, .. }) = &produced[0] else { panic!("{produced:?}") };
    assert_eq!(*id, call_id);
    assert_eq!(
        produced,
        [Produced::Entry(Entry::Event { turn_id: Some(turn()), id: call_id, body })]
    );
    let more = json!({"rawOutput": {"output": "2"}});
    assert_eq!(translation.update(call("tool_call_update", "completed", more)), []);
    assert_eq!(translation.close("over"), []);
}

#[test]
fn a_permission_request_completes_the_input() {
    let ids = Counted::default();
    let policy = Policy::default();
    let mut translation = Translation::new(turn(), &ids, &policy);
    let asked = ToolCall {
        id: "call_1".to_owned(),
        title: Some("edit".to_owned()),
        raw_input: Some(json!({"path": "a"})),
        ..ToolCall::default()
    };
    assert_eq!(translation.leave_asked(&asked), []);
    let expected = vec![event(1, tool_use("edit", json!({"path": "a"})))];
    assert_eq!(translation.decide("call_1", false), (Verdict::Allow, expected));
    assert_eq!(translation.decide("call_1", false), (Verdict::Allow, Vec::new()));
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

#[test]
fn a_text_is_shown_as_a_whole_again_only_when_it_has_grown_or_somebody_may_have_missed_it() {
    let (ids, policy) = (Counted::default(), Policy::default());
    let mut translation = Translation::new(turn(), &ids, &policy);
    assert_eq!(translation.repeat_text(true), None);
    translation.update(chunk("agent_message_chunk", "m1", "hel"));
    translation.update(chunk("agent_message_chunk", "m1", "lo"));
    let whole = preview(1, "agent.message", Some("hello"), 0);
    assert_eq!(translation.repeat_text(false).map(Produced::Preview), Some(whole));
    assert_eq!(translation.repeat_text(false), None);
    assert!(translation.repeat_text(true).is_some());
}
