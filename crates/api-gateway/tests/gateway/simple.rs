//! The simple forms under `/api`.

use platform_core::session::{ContentBlock, EventBody};
use platform_core::turn::StopReason;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Gateway;

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_made_changed_and_archived() {
    let gateway = Gateway::start_alone().await;
    let team = gateway.team("a").await;
    let made = team.post("/api/agents", json!({"name": "n", "model": "demo"})).await;
    assert_eq!(made.status, 201);
    let path = format!("/api/agents/{}", made.ok()["id"].as_str().unwrap());
    let renamed = team.request(&Method::PATCH, &path).json(&json!({"name": "m"}));
    assert_eq!(renamed.send().await.unwrap().status().as_u16(), 200);
    assert_eq!(team.get(&path).await.ok()["version"], 2);
    assert_eq!(team.delete(&path).await.status, 204);
    assert_eq!(team.get("/api/agents").await.ok(), json!({"data": [], "next_cursor": null}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_is_held_with_plain_texts() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let agent = team.new_agent().await;
    let body = json!({"agent_id": agent["id"], "title": "t", "text": "hi"});
    let opened = team.post("/api/sessions", body).await;
    assert_eq!(opened.status, 201);
    let session = opened.ok();
    let id = session["id"].as_str().unwrap();
    let path = format!("/api/sessions/{id}");
    let answer = EventBody::AgentMessage { content: vec![ContentBlock::text("hello")] };
    gateway.fake.tell(id, vec![answer]).await;
    let messages = team.get(&format!("{path}/messages")).await.ok();
    let said = messages["data"].as_array().unwrap().iter();
    let said: Vec<(&Value, &Value)> =
        said.map(|message| (&message["role"], &message["text"])).collect();
    assert_eq!(said, [(&json!("user"), &json!("hi")), (&json!("agent"), &json!("hello"))]);
    assert_eq!(messages["next_cursor"], Value::Null);

    let taken = team.post(&format!("{path}/messages"), json!({"text": "more"})).await;
    assert_eq!(taken.status, 202);
    assert!(taken.ok()["turn_id"].is_string());
    assert_eq!(team.post_nothing(&format!("{path}/interrupt")).await.status, 202);
    assert_eq!(team.get("/api/sessions?status=running").await.ok()["data"][0]["id"], session["id"]);
    assert_eq!(team.delete(&path).await.status, 204);
    team.get(&path).await.refused(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_gets_the_answer_in_the_same_call() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let session = team.new_session().await;
    let id = session["id"].as_str().unwrap();
    let mut stream = team.stream(&format!("/v1/sessions/{id}/events/stream")).await;
    let path = format!("/api/sessions/{id}/messages?wait=30");
    let asking = {
        let team = team.clone();
        tokio::spawn(async move { team.post(&path, json!({"text": "hi"})).await })
    };
    let asked = stream.frame().await;
    let turn_id = asked.data["turn_id"].as_str().unwrap().parse().unwrap();
    let answer = EventBody::AgentMessage { content: vec![ContentBlock::text("hello")] };
    let (team_id, mut events) = gateway.fake.commit(id, vec![answer]).await;
    gateway.fake.end_turn(id, turn_id, StopReason::EndTurn).await;
    gateway.fake.announce(team_id, id.parse().unwrap(), &events.split_off(0)).await;
    let answered = asking.await.unwrap();
    assert_eq!(answered.status, 200, "{answered:?}");
    let answered = answered.ok();
    assert_eq!(
        (&answered["text"], &answered["stop_reason"]),
        (&json!("hello"), &json!("end_turn"))
    );
    assert_eq!(answered["event_id"], asked.data["id"]);

    let late =
        team.post(&format!("/api/sessions/{id}/messages?wait=1"), json!({"text": "x"})).await;
    assert_eq!(late.status, 202);
}
