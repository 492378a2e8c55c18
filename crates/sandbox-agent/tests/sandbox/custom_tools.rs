//! Tools of the client: offered to the harness by a server of its own, carried out by whoever answers their event.

use std::fs;

use platform_core::id::EventId;
use platform_core::journal::Entry;
use platform_core::session::ContentBlock;
use platform_core::turn::{ActionAnswer, ActionKind, AnsweredAction};
use serde_json::{Value, json};

use crate::platform::{Link, Sandbox, Volume, opened, prepare, told};

/// An agent with a tool of the client, and nothing that asks.
fn agent() -> Value {
    json!({
        "id": "agent_00000000000000000000000000000002", "version": 1, "name": "tester",
        "model": {"id": "second"}, "harness": "fake",
        "tools": [{
            "type": "custom", "name": "get_weather", "description": "The weather.",
            "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
        }],
    })
}

async fn ready(volume: &Volume) -> (Sandbox, Link) {
    let (sandbox, link, _) = opened(volume, json!({"agent": agent()})).await;
    (sandbox, link)
}

fn result(text: &str, is_error: bool) -> ActionAnswer {
    ActionAnswer::Result { content: vec![ContentBlock::text(text)], is_error }
}

/// What the calls gave the harness.
fn results(volume: &Volume) -> Vec<Value> {
    let lines = volume.fake_state("results");
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_custom_tool_is_offered_as_it_was_defined_and_its_result_comes_from_the_client() {
    let volume = Volume::new();
    let (_sandbox, mut link) = ready(&volume).await;
    let tools: Value = serde_json::from_str(&volume.fake_state("tools")[0]).unwrap();
    assert_eq!(
        tools,
        json!([{
            "name": "get_weather", "description": "The weather.",
            "inputSchema": {"type": "object", "properties": {"city": {"type": "string"}}},
        }])
    );
    let prompt =
        "say let me see\ncustom get_weather {\"city\": \"Bern\"}\ncustom get_weather\nsay done";
    link.start_turn(1, 1, prompt).await;
    let (first, entries) = link.until_asked().await;
    assert_eq!(
        told(&entries)[2..],
        ["message let me see", r#"custom get_weather {"city":"Bern"}"#]
    );
    link.answer(1, first, &result("22 degrees", false)).await;
    link.answer(1, first, &result("23 degrees", false)).await;
    let (second, entries) = link.until_asked().await;
    assert_eq!(told(&entries), ["resumed", "custom get_weather {}"]);
    link.answer(1, second, &result("no such city", true)).await;
    let (entries, _) = link.until_turn_ends().await;
    assert_eq!(told(&entries), ["resumed", "message done", "used 10 2", "ended end_turn"]);
    assert_eq!(
        results(&volume),
        [
            json!({"content": [{"type": "text", "text": "22 degrees"}], "isError": false}),
            json!({"content": [{"type": "text", "text": "no such city"}], "isError": true}),
        ]
    );
}

#[tokio::test]
async fn a_warm_harness_serves_an_agent_with_custom_tools_without_another_start() {
    let volume = Volume::new();
    let sandbox = Sandbox::start(&volume);
    let (mut link, _) = sandbox.accept().await;
    link.send(prepare()).await;
    link.until_ready().await;
    link.hydrate(1, json!({"agent": agent()})).await;
    link.until_ready().await;
    link.start_turn(1, 1, "custom get_weather").await;
    let (call, _) = link.until_asked().await;
    link.answer(1, call, &result("22 degrees", false)).await;
    link.until_turn_ends().await;
    assert_eq!(volume.fake_state("starts").len(), 1);
}

#[tokio::test]
async fn a_tool_that_the_agent_does_not_define_cannot_be_called() {
    let volume = Volume::new();
    let (_sandbox, mut link) = ready(&volume).await;
    link.start_turn(1, 1, "custom launch").await;
    let (entries, _) = link.until_turn_ends().await;
    let told = told(&entries);
    assert!(told.contains(&"message there is no tool \"launch\"".to_owned()), "{told:?}");
    assert!(!told.iter().any(|line| line.starts_with("custom")), "{told:?}");
}

#[tokio::test]
async fn a_call_that_the_harness_gives_up_ends_as_failed_and_an_answer_comes_too_late() {
    let volume = Volume::new();
    let (_sandbox, mut link) = ready(&volume).await;
    link.start_watched_turn(1, 1, "give-up get_weather\nsay without it", 20).await;
    let (call, _) = link.until_asked().await;
    fs::write(volume.path("home/.fake/impatient"), "").unwrap();
    let (entries, _) = link.until_turn_ends().await;
    let told = told(&entries);
    let failed = "tool_result the agent no longer waits for this call true".to_owned();
    assert!(told.contains(&failed) && told.contains(&"message without it".to_owned()), "{told:?}");
    link.answer(1, call, &result("late", false)).await;
    link.start_turn(2, 1, "say next").await;
    let (entries, _) = link.until_turn_ends().await;
    assert!(!crate::platform::told(&entries).contains(&"resumed".to_owned()));
}

#[tokio::test]
async fn an_interrupt_ends_a_turn_that_waits_for_the_client() {
    let volume = Volume::new();
    let (_sandbox, mut link) = ready(&volume).await;
    link.start_turn(1, 1, "custom get_weather\nsay never").await;
    link.until_asked().await;
    let interrupted = std::time::Instant::now();
    link.interrupt(1).await;
    let (entries, _) = link.until_turn_ends().await;
    assert!(interrupted.elapsed().as_secs_f64() < 2.0, "{:?}", interrupted.elapsed());
    assert_eq!(told(&entries).last().unwrap(), "ended interrupted");
}

fn answered(event_id: EventId, answer: ActionAnswer) -> AnsweredAction {
    let (kind, name) = (ActionKind::CustomTool, "get_weather".to_owned());
    AnsweredAction { event_id, kind, name, input: serde_json::Map::new(), answer }
}

#[tokio::test]
async fn a_result_that_came_after_the_sandbox_was_lost_is_told_to_the_agent_in_the_next_one() {
    let volume = Volume::new();
    let (sandbox, mut link, session) = opened(&volume, json!({"agent": agent()})).await;
    let prompt = "custom get_weather\nsay done";
    link.start_turn(1, 1, prompt).await;
    let (call, _) = link.until_asked().await;
    volume.took(&link);
    sandbox.kill().await;

    let sandbox = Sandbox::start(&volume);
    let (mut link, _) = sandbox.accept().await;
    let spec = json!({"agent": agent(), "harness_session": session});
    link.hydrate(2, volume.replaced(&spec)).await;
    let answers = [answered(call, result("22 degrees", false))];
    link.start_answered_turn(1, 2, prompt, 0, &answers).await;
    let (entries, _) = link.until_turn_ends().await;
    let is_it =
        |entry: &Entry| matches!(entry, Entry::ActionResumed { event_id, .. } if *event_id == call);
    assert_eq!(entries.iter().filter(|entry| is_it(entry)).count(), 1);
    let reminder = &volume.prompts(&session)[1];
    assert!(reminder.contains("get_weather {}\nIts result: 22 degrees"), "{reminder}");
}
