//! Sessions that go on from an earlier point of another.

use platform_core::session::{ContentBlock, EventBody};
use serde_json::{Value, json};

use crate::support::{Actor, Gateway};

/// A titled session with five events in its log.
async fn source(gateway: &Gateway, team: &Actor) -> Value {
    let agent = team.new_agent().await;
    let body = json!({"agent": agent["id"], "title": "t", "metadata": {"a": "1"}, "context": "c"});
    let session = team.post("/v1/sessions", body).await.ok();
    let id = session["id"].as_str().unwrap();
    team.say(id, "hi").await;
    let says = |text| EventBody::AgentMessage { content: vec![ContentBlock::text(text)] };
    gateway.fake.tell(id, vec![says("a"), says("b"), says("c")]).await;
    session
}

fn path(session: &Value) -> String {
    format!("/v1/sessions/{}", session["id"].as_str().unwrap())
}

async fn log(team: &Actor, session: &Value) -> Vec<Value> {
    let listed = team.get(&format!("{}/events?limit=1000", path(session))).await.ok();
    listed["data"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_has_the_log_up_to_its_point_and_leaves_the_other_as_it_is() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let source = source(&gateway, &team).await;
    let before = log(&team, &source).await;
    let fork = team.post(&format!("{}/fork", path(&source)), json!({"at_event": 4})).await.ok();
    assert_ne!(fork["id"], source["id"]);
    assert_eq!(fork["forked_from"]["session_id"], source["id"]);
    assert_eq!(fork["forked_from"]["at_event"], 4);
    assert_eq!((&fork["title"], &fork["metadata"]), (&json!("t"), &json!({"a": "1"})));
    assert_eq!(fork["context"], Value::Null);
    assert_eq!(team.get(&path(&fork)).await.ok()["forked_from"], fork["forked_from"]);
    let forked = log(&team, &fork).await;
    let content = |event: &Value| (event["seq"].clone(), event["content"].clone());
    assert_eq!(
        forked[..4].iter().map(content).collect::<Vec<_>>(),
        before[..4].iter().map(content).collect::<Vec<_>>()
    );
    assert_eq!(log(&team, &source).await, before);
    assert_eq!(team.get(&path(&source)).await.ok()["forked_from"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_body_the_whole_log_is_taken_over() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let source = source(&gateway, &team).await;
    let fork = team.post_nothing(&format!("{}/fork", path(&source))).await.ok();
    assert_eq!(fork["forked_from"]["at_event"], 5);
    let described = json!({"title": "u", "metadata": {}, "context": "d"});
    let fork = team.post(&format!("{}/fork", path(&source)), described).await.ok();
    assert_eq!(fork["title"], "u");
    assert_eq!((&fork["metadata"], &fork["context"]), (&json!({}), &json!("d")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_forked_says_why() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let source = source(&gateway, &team).await;
    let target = format!("{}/fork", path(&source));
    for body in [json!({"at_event": 0}), json!({"at_event": "4"}), json!({"colour": 1})] {
        team.post(&target, body).await.refused(400);
    }
    let late = team.post(&target, json!({"at_event": 6})).await.refused(400);
    assert_eq!(late["error"]["details"]["error_code"], "no_such_event");
    let taken = team.post(&target, json!({"context": "c"})).await;
    assert_eq!(taken.refused(409)["error"]["details"]["error_code"], "context_taken");
    assert_eq!(taken.header("x-should-retry"), Some("false"));
    let nothing = "/v1/sessions/sesn_01935a7e7c1b7e2a8f000123456789ab/fork";
    team.post(nothing, json!({})).await.refused(404);
    gateway.team("b").await.post(&target, json!({})).await.refused(404);
    assert_eq!(team.get("/v1/sessions").await.ok()["data"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_fork_is_the_same_fork() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let source = source(&gateway, &team).await;
    let target = format!("{}/fork", path(&source));
    let first = team.post_once(&target, "k", json!({"at_event": 2})).await;
    let again = team.post_once(&target, "k", json!({"at_event": 2})).await;
    assert_eq!(first.text, again.text);
    team.post_once(&target, "k", json!({"at_event": 3})).await.refused(409);
    assert_eq!(team.get("/v1/sessions").await.ok()["data"].as_array().unwrap().len(), 2);
}
