//! Calls of the agent that wait for a person or a client, and their answers.

use platform_core::id::{EventId, TurnId};
use platform_core::session::{ContentBlock, EventBody};
use platform_core::turn::StopReason;
use serde_json::{Map, Value, json};

use crate::support::{Actor, Gateway};

fn asks(command: &str) -> EventBody {
    let input = Map::from_iter([("command".to_owned(), json!(command))]);
    let evaluated_permission = Some("ask".to_owned());
    EventBody::AgentToolUse { name: "bash".to_owned(), input, evaluated_permission }
}

fn calls_client() -> EventBody {
    let input = Map::from_iter([("city".to_owned(), json!("Bremen"))]);
    EventBody::AgentCustomToolUse { name: "weather".to_owned(), input }
}

/// A session whose turn has begun.
async fn at_work(gateway: &Gateway, team: &Actor) -> (String, TurnId) {
    let session = team.new_session().await;
    let id = session["id"].as_str().unwrap().to_owned();
    team.say(&id, "hi").await;
    let turn = gateway.fake.begin_turn(&id).await;
    (id, turn)
}

async fn last_events(team: &Actor, session: &str, count: usize) -> Vec<Value> {
    let path = format!("/v1/sessions/{session}/events?order=desc&limit={count}");
    let mut events = team.get(&path).await.ok()["data"].as_array().unwrap().clone();
    events.reverse();
    events
}

fn allow(call: EventId) -> Value {
    json!({"type": "user.tool_confirmation", "tool_use_id": call, "result": "allow"})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_asks_stops_the_turn_until_it_is_allowed() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let (id, turn) = at_work(&gateway, &team).await;
    let call = gateway.fake.act(&id, turn, asks("ls")).await;
    let events = last_events(&team, &id, 2).await;
    assert_eq!(events[0]["id"], call.to_string());
    assert_eq!(events[0]["type"], "agent.tool_use");
    assert_eq!(events[0]["evaluated_permission"], "ask");
    assert_eq!(events[1]["type"], "session.status_idle");
    let stopped =
        json!({"type": "requires_action", "reason": "requires_action", "event_ids": [call]});
    assert_eq!(events[1]["stop_reason"], stopped);
    let path = format!("/v1/sessions/{id}");
    assert_eq!(team.get(&path).await.ok()["status"], "idle");

    // As the id is spelt in the database.
    let mut confirmation = allow(call);
    confirmation["tool_use_id"] = json!(call.uuid());
    let sent = team.post(&format!("{path}/events"), json!({"events": [confirmation]})).await.ok();
    let stored = &sent["data"][0];
    assert_eq!(stored["tool_use_id"], call.to_string());
    assert_eq!((&stored["result"], stored.get("deny_message")), (&json!("allow"), None));
    assert!(stored["processed_at"].is_string());
    assert_eq!(last_events(&team, &id, 1).await[0]["type"], "session.status_running");
    assert_eq!(team.get(&path).await.ok()["status"], "running");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_answers_some_calls_is_told_which_are_left() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let (id, turn) = at_work(&gateway, &team).await;
    let first = gateway.fake.act(&id, turn, asks("ls")).await;
    let second = gateway.fake.act(&id, turn, calls_client()).await;
    let path = format!("/v1/sessions/{id}/events");
    let deny = json!({"type": "user.tool_confirmation", "tool_use_id": first, "result": "deny",
        "deny_message": "not here"});
    team.post(&path, json!({"events": [deny]})).await.ok();
    let events = last_events(&team, &id, 2).await;
    assert_eq!(events[0]["deny_message"], "not here");
    assert_eq!(events[1]["stop_reason"]["event_ids"], json!([second]));

    let result = json!({"type": "user.custom_tool_result", "custom_tool_use_id": second,
        "content": "rain"});
    let sent = team.post(&path, json!({"events": [result]})).await.ok();
    assert_eq!(sent["data"][0]["custom_tool_use_id"], second.to_string());
    assert_eq!(sent["data"][0]["content"], json!([{"type": "text", "text": "rain"}]));
    assert_eq!(sent["data"][0]["is_error"], false);
    assert_eq!(last_events(&team, &id, 1).await[0]["type"], "session.status_running");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_answers_nothing_is_refused_and_not_stored() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let (id, turn) = at_work(&gateway, &team).await;
    let call = gateway.fake.act(&id, turn, asks("ls")).await;
    let other = gateway.fake.act(&id, turn, asks("pwd")).await;
    let path = format!("/v1/sessions/{id}/events");
    let unknown = "sevt_01935a7e7c1b7e2a8f000123456789ab".parse().unwrap();
    let wrong = json!({"type": "user.custom_tool_result", "custom_tool_use_id": call});
    let twice = json!({"events": [allow(call), allow(call)]});
    let before = last_events(&team, &id, 1).await;
    for (body, code) in [
        (json!({"events": [allow(unknown)]}), "nothing_to_answer"),
        (json!({"events": [allow(turn_as_event(turn))]}), "nothing_to_answer"),
        (json!({"events": [wrong]}), "wrong_answer"),
        (twice, "already_answered"),
    ] {
        let refused = team.post(&path, body).await;
        assert_eq!(refused.refused(400)["error"]["details"]["error_code"], code);
    }
    assert_eq!(last_events(&team, &id, 1).await, before);
    team.post(&path, json!({"events": [allow(call), allow(other)]})).await.ok();
    let initial = json!({"agent": team.new_agent().await["id"], "initial_events": [allow(call)]});
    let refused = team.post("/v1/sessions", initial).await;
    refused.refused(400);
    assert!(refused.message().contains("user.message only"), "{}", refused.message());
}

/// An id of the session that is no call.
fn turn_as_event(turn: TurnId) -> EventId {
    EventId::from_uuid(turn.uuid())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_an_answer_is_told_what_the_agent_waits_for() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let session = team.new_session().await;
    let id = session["id"].as_str().unwrap();
    let mut stream = team.stream(&format!("/v1/sessions/{id}/events/stream")).await;
    let path = format!("/api/sessions/{id}");
    let asking = {
        let (team, path) = (team.clone(), format!("{path}/messages?wait=30"));
        tokio::spawn(async move { team.post(&path, json!({"text": "hi"})).await })
    };
    assert_eq!(stream.frame().await.name, "user.message");
    let turn = gateway.fake.begin_turn(id).await;
    let says = |text| EventBody::AgentMessage { content: vec![ContentBlock::text(text)] };
    gateway.fake.act(id, turn, says("May I?")).await;
    let call = gateway.fake.act(id, turn, asks("ls")).await;
    let answered = asking.await.unwrap().ok();
    assert_eq!(answered["text"], "May I?");
    assert_eq!(answered["stop_reason"], "requires_action");
    let waiting = json!([{"event_id": call, "name": "bash", "input": {"command": "ls"},
        "answer_with": "user.tool_confirmation"}]);
    assert_eq!(answered["waiting_for"], waiting);

    let confirmation = json!({"tool_use_id": call, "result": "maybe"});
    let refused = team.post(&format!("{path}/confirmations"), confirmation).await;
    assert!(refused.refused(400)["detail"].as_str().unwrap().starts_with("result: "));
    let confirming = {
        let (team, path) = (team.clone(), format!("{path}/confirmations?wait=30"));
        let confirmation = json!({"tool_use_id": call, "result": "allow"});
        tokio::spawn(async move { team.post(&path, confirmation).await })
    };
    while stream.frame().await.name != "user.tool_confirmation" {}
    gateway.fake.act(id, turn, says("Done.")).await;
    gateway.fake.finish_turn(id, turn, StopReason::EndTurn).await;
    let answered = confirming.await.unwrap().ok();
    assert_eq!(answered["text"], "May I?\n\nDone.");
    assert_eq!(answered["stop_reason"], "end_turn");
    assert_eq!(answered["turn_id"], turn.to_string());
    assert_eq!(answered["waiting_for"], json!([]));
}
