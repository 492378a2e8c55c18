//! Calls that need leave: given by the agent's definition, by a person, or not at all; in one sandbox and across two.

use std::time::Instant;

use platform_core::id::{EventId, Id};
use platform_core::journal::Entry;
use platform_core::session::EventBody;
use platform_core::turn::{ActionAnswer, ActionKind, AnsweredAction};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::platform::{Link, Sandbox, Volume, opened, told};

/// An agent that asks before `bash`, must not use `edit`, and may do the rest.
fn agent() -> Value {
    json!({
        "id": "agent_00000000000000000000000000000002", "version": 1, "name": "tester",
        "model": {"id": "second"}, "harness": "fake",
        "tools": [{
            "type": "agent_toolset_20260401",
            "default_config": {"enabled": true, "permission_policy": {"type": "always_allow"}},
            "configs": [
                {"type": "bash", "name": "bash", "enabled": true,
                 "permission_policy": {"type": "always_ask"}},
                {"type": "edit", "name": "edit", "enabled": false,
                 "permission_policy": {"type": "always_allow"}},
            ],
        }],
    })
}

async fn ready(volume: &Volume) -> (Sandbox, Link) {
    let (sandbox, link, _) = opened(volume, json!({"agent": agent()})).await;
    (sandbox, link)
}

fn deny(message: Option<&str>) -> ActionAnswer {
    ActionAnswer::Deny { message: message.map(str::to_owned) }
}

const BASH: &str = r#"tool_use bash {"command":"bash"} ask"#;

#[tokio::test]
async fn a_call_that_asks_is_written_down_with_its_whole_input_and_made_when_it_is_allowed() {
    let volume = Volume::new();
    let (_sandbox, mut link) = ready(&volume).await;
    assert_eq!(volume.fake_state("modes"), ["asking"]);
    link.start_turn(1, 1, "want read\nwant bash\nsay done").await;
    let (call, entries) = link.until_asked().await;
    let told_before = told(&entries);
    let from = told_before.iter().position(|line| line == "started").unwrap();
    assert_eq!(
        told_before[from + 1..],
        [
            "span.model_request_start",
            r#"tool_use read {"command":"read"}"#,
            "tool_result made false",
            BASH
        ]
    );
    assert_eq!(volume.fake_state("made"), [r#"read {"command":"read"}"#]);
    link.answer(1, call, &ActionAnswer::Allow).await;
    link.answer(1, call, &ActionAnswer::Allow).await;
    let (entries, _) = link.until_turn_ends().await;
    assert_eq!(
        told(&entries),
        ["resumed", "tool_result made false", "message done", "used 10 2", "ended end_turn"]
    );
    assert_eq!(volume.fake_state("made").len(), 2);
}

#[tokio::test]
async fn a_call_that_is_asked_about_twice_needs_one_answer() {
    let volume = Volume::new();
    let (_sandbox, mut link) = ready(&volume).await;
    link.start_turn(1, 1, "twice bash\nsay done").await;
    let (call, _) = link.until_asked().await;
    link.answer(1, call, &ActionAnswer::Allow).await;
    let (entries, _) = link.until_turn_ends().await;
    assert_eq!(told(&entries)[..2], ["resumed", "tool_result made false"]);
}

#[tokio::test]
async fn a_denied_call_is_not_made_and_the_agent_is_told_why_within_the_same_turn() {
    let volume = Volume::new();
    let (_sandbox, mut link, session) = opened(&volume, json!({"agent": agent()})).await;
    link.start_turn(1, 1, "want bash\nsay sorry").await;
    let (call, _) = link.until_asked().await;
    link.answer(1, call, &deny(Some("not on a Friday"))).await;
    let (entries, _) = link.until_turn_ends().await;
    assert_eq!(
        told(&entries),
        [
            "tool_result not on a Friday true",
            "resumed",
            "used 10 2",
            "span.model_request_start",
            "message sorry",
            "used 10 2",
            "ended end_turn",
        ]
    );
    assert_eq!(volume.fake_state("made"), [""; 0]);
    let reminder = &volume.prompts(&session)[1];
    assert!(
        reminder.contains("bash {\"command\":\"bash\"}\nThe reason: not on a Friday"),
        "{reminder}"
    );
}

#[tokio::test]
async fn a_tool_that_is_switched_off_is_refused_without_asking_anybody() {
    let volume = Volume::new();
    let (_sandbox, mut link) = ready(&volume).await;
    link.start_turn(1, 1, "want edit\nsay well").await;
    let (entries, _) = link.until_turn_ends().await;
    let told = told(&entries);
    let from = told.iter().position(|line| line.starts_with("tool_use")).unwrap();
    assert_eq!(
        told[from..],
        [
            r#"tool_use edit {"command":"edit"} deny"#,
            "tool_result this agent may not use edit; the call was not made true",
            "used 10 2",
            "span.model_request_start",
            "message well",
            "used 10 2",
            "ended end_turn",
        ]
    );
}

#[tokio::test]
async fn the_time_for_silence_stands_still_while_a_call_waits_and_runs_again_after() {
    let volume = Volume::new();
    let (_sandbox, mut link) = ready(&volume).await;
    link.start_watched_turn(1, 1, "want bash\nhang", 1).await;
    let (call, _) = link.until_asked().await;
    // The one sleep that is meant: longer than the silence that would end the turn.
    tokio::time::sleep(std::time::Duration::from_millis(1300)).await;
    link.answer(1, call, &ActionAnswer::Allow).await;
    let (entries, _) = link.until_turn_ends().await;
    assert_eq!(told(&entries)[..2], ["resumed", "tool_result made false"]);
    assert!(told(&entries).last().unwrap().starts_with("ended timed_out"));
}

#[tokio::test]
async fn an_interrupt_ends_a_turn_whose_call_waits_even_if_the_harness_ignores_it() {
    let volume = Volume::new();
    let (_sandbox, mut link) = ready(&volume).await;
    for (number, prompt, message) in [
        (1, "want bash\nsay never", ""),
        (2, "stubborn bash", ": the harness did not stop and was killed"),
    ] {
        link.start_turn(number, 1, prompt).await;
        link.until_asked().await;
        let interrupted = Instant::now();
        link.interrupt(number).await;
        let (entries, _) = link.until_turn_ends().await;
        assert!(interrupted.elapsed().as_secs_f64() < 2.0, "{:?}", interrupted.elapsed());
        let told = told(&entries);
        assert!(told[0].starts_with("tool_result ") && told[0].ends_with(" true"), "{told:?}");
        assert_eq!(told.last().unwrap(), &format!("ended interrupted{message}"));
    }
    assert_eq!(volume.fake_state("made"), [""; 0]);
}

#[tokio::test]
async fn an_answer_that_nothing_waits_for_changes_nothing() {
    let volume = Volume::new();
    let (_sandbox, mut link) = ready(&volume).await;
    link.start_turn(1, 1, "want bash\nsay done").await;
    let (call, _) = link.until_asked().await;
    let result = ActionAnswer::Result { content: Vec::new(), is_error: false };
    link.answer(1, call, &result).await;
    link.answer(2, call, &ActionAnswer::Allow).await;
    link.answer(1, Id::from_uuid(Uuid::nil()), &ActionAnswer::Allow).await;
    link.answer(1, call, &deny(None)).await;
    let (entries, _) = link.until_turn_ends().await;
    assert_eq!(told(&entries)[0], "tool_result the user denied this call; it was not made true");
}

/// Loses a sandbox while its call waits. Answers the harness's name for the session and the event of the call.
async fn lost_while_waiting(volume: &Volume, prompt: &str) -> (String, EventId) {
    let (sandbox, mut link, session) = opened(volume, json!({"agent": agent()})).await;
    link.start_turn(1, 1, prompt).await;
    let (call, _) = link.until_asked().await;
    volume.took(&link);
    sandbox.kill().await;
    (session, call)
}

/// The sandbox after, which is given the turn again with an answer.
async fn next(
    volume: &Volume,
    session: &str,
    prompt: &str,
    answer: AnsweredAction,
) -> (Sandbox, Link) {
    let sandbox = Sandbox::start(volume);
    let (mut link, _) = sandbox.accept().await;
    let spec = json!({"agent": agent(), "harness_session": session});
    link.hydrate(2, volume.replaced(&spec)).await;
    link.start_answered_turn(1, 2, prompt, 0, &[answer]).await;
    (sandbox, link)
}

fn answered(event_id: EventId, answer: ActionAnswer) -> AnsweredAction {
    let Value::Object(input) = json!({"command": "bash"}) else { unreachable!() };
    let kind = ActionKind::Confirmation;
    AnsweredAction { event_id, kind, name: "bash".to_owned(), input, answer }
}

#[tokio::test]
async fn a_call_allowed_after_its_sandbox_was_lost_is_made_once_under_its_old_id() {
    let volume = Volume::new();
    let prompt = "want bash\nsay done";
    let (session, call) = lost_while_waiting(&volume, prompt).await;
    let allowed = answered(call, ActionAnswer::Allow);
    let (_sandbox, mut link) = next(&volume, &session, prompt, allowed).await;
    let (entries, _) = link.until_turn_ends().await;
    let told = told(&entries);
    let from = told.iter().position(|line| line == "started").unwrap();
    assert_eq!(
        told[from..],
        [
            "started",
            "span.model_request_start",
            "resumed",
            "tool_result made false",
            "used 10 2",
            "ended end_turn",
        ]
    );
    let result = entries.iter().find_map(|entry| match entry {
        Entry::Event { body: EventBody::AgentToolResult { tool_use_id, .. }, .. } => {
            Some(*tool_use_id)
        }
        _ => None,
    });
    assert_eq!(result, Some(call));
    assert_eq!(volume.fake_state("made"), [r#"bash {"command":"bash"}"#]);
    assert_eq!(volume.prompts(&session).len(), 2);
}

#[tokio::test]
async fn leave_for_one_call_lets_no_other_pass() {
    let volume = Volume::new();
    let (session, call) = lost_while_waiting(&volume, "want bash").await;
    let mut allowed = answered(call, ActionAnswer::Allow);
    allowed.input.insert("command".to_owned(), "ls".into());
    // A prompt that the agent does not know, so that it makes both calls: the allowed one and that of its script.
    let (_sandbox, mut link) = next(&volume, &session, "want bash\nsay done", allowed).await;
    let (other, entries) = link.until_asked().await;
    let told = told(&entries);
    let from = told.iter().position(|line| line == "resumed").unwrap();
    assert_eq!(told[from..], ["resumed", "tool_result made false", BASH]);
    assert_ne!(other, call);
    assert_eq!(volume.fake_state("made"), [r#"bash {"command":"ls"}"#]);
}

#[tokio::test]
async fn a_call_denied_after_its_sandbox_was_lost_ends_with_the_reason_and_the_agent_is_told() {
    let volume = Volume::new();
    let prompt = "want bash\nsay done";
    let (session, call) = lost_while_waiting(&volume, prompt).await;
    let denied = answered(call, deny(Some("no")));
    let (_sandbox, mut link) = next(&volume, &session, prompt, denied).await;
    let (entries, _) = link.until_turn_ends().await;
    let told = told(&entries);
    let from = told.iter().position(|line| line == "started").unwrap();
    assert_eq!(
        told[from..from + 4],
        ["started", "tool_result no true", "span.model_request_start", "resumed"]
    );
    assert!(volume.prompts(&session)[1].contains("The reason: no"));
    assert_eq!(volume.fake_state("made"), [""; 0]);
}
