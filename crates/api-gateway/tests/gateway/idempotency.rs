//! One request, one effect.

use futures::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::support::Gateway;

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_is_answered_byte_for_byte_and_makes_nothing_more() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let agent = json!({"name": "n", "model": "demo", "metadata": {"z": "1", "a": "2"}});
    let first = team.post_once("/v1/agents", "k1", agent.clone()).await;
    let again = team.post_once("/v1/agents", "k1", agent).await;
    assert_eq!(first.text, again.text);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let session = json!({"agent": first.ok()["id"]});
    let first = team.post_once("/v1/sessions", "k2", session.clone()).await;
    assert_eq!(first.text, team.post_once("/v1/sessions", "k2", session).await.text);
    assert_eq!(team.get("/v1/agents").await.ok()["data"].as_array().unwrap().len(), 1);
    assert_eq!(team.get("/v1/sessions").await.ok()["data"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_for_another_request_is_refused_and_another_teams_is_its_own() {
    let gateway = Gateway::start_alone().await;
    let (team, other) = (gateway.team("a").await, gateway.team("b").await);
    let body = |name: &str| json!({"name": name, "model": "demo"});
    team.post_once("/v1/agents", "k", body("one")).await.ok();
    let refused = team.post_once("/v1/agents", "k", body("two")).await;
    assert_eq!(refused.refused(409)["error"]["details"]["error_code"], "idempotency_key_reused");
    assert_eq!(refused.header("x-should-retry"), Some("false"));
    assert_eq!(other.post_once("/v1/agents", "k", body("two")).await.ok()["name"], "two");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_ten_at_once_one_is_carried_out() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let session = team.new_session().await;
    let path = format!("/v1/sessions/{}/events", session["id"].as_str().unwrap());
    let body = json!({"events": [{"type": "user.message", "content": "x"}]});
    let answers = join_all((0..10).map(|_| team.post_once(&path, "k", body.clone()))).await;
    let done: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert!(!done.is_empty());
    for answer in &answers {
        match answer.status {
            200 => assert_eq!(answer.text, done[0].text),
            409 => assert_eq!(answer.header("retry-after"), Some("1")),
            _ => panic!("{answer:?}"),
        }
    }
    let listed = team.get(&format!("{path}?types[]=user.message")).await.ok();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_kept_and_a_failure_is_not() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let bad = json!({"name": "n", "model": "unknown"});
    let first = team.post_once("/v1/agents", "k1", bad.clone()).await;
    first.refused(400);
    assert_eq!(team.post_once("/v1/agents", "k1", bad).await.text, first.text);

    let session = team.new_session().await;
    let path = format!("/v1/sessions/{}/events", session["id"].as_str().unwrap());
    let body = json!({"events": [{"type": "user.message", "content": "x"}]});
    gateway.broker.close().await;
    for _ in 0..2 {
        let failed = team.post_once(&path, "k2", body.clone()).await;
        failed.refused(503);
        assert_eq!(failed.header("idempotent-replayed"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_key_is_the_same_key_although_it_is_kept_nowhere() {
    let gateway = Gateway::start_alone().await;
    let administrator = gateway.administrator();
    let body = json!({"name": "n"});
    let first = administrator.post_once("/v1/api_keys", "k", body.clone()).await;
    let again = administrator.post_once("/v1/api_keys", "k", body).await;
    assert_eq!(first.text, again.text);
    let other = administrator.post_once("/v1/api_keys", "k", json!({"name": "m"})).await;
    other.refused(409);
    let key = first.ok()["key"].as_str().unwrap().to_owned();
    gateway.with_key(&key).get("/v1/agents").await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_repeat_a_sessions_content_are_forgotten_with_it() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let agent = team.new_agent().await;
    let body = json!({"agent": agent["id"], "title": "planted"});
    let session = team.post_once("/v1/sessions", "k1", body).await.ok();
    let path = format!("/v1/sessions/{}", session["id"].as_str().unwrap());
    let events = json!({"events": [{"type": "user.message", "content": "planted"}]});
    team.post_once(&format!("{path}/events"), "k2", events.clone()).await.ok();
    let fork = team.post_once(&format!("{path}/fork"), "k3", json!({})).await.ok();
    let simple = format!("/api/sessions/{}/messages", session["id"].as_str().unwrap());
    team.post_once(&simple, "k4", json!({"text": "planted"})).await.ok();
    assert_eq!(gateway.kept_answers().await, 4);

    let delete = || team.request(&Method::DELETE, &path).header("idempotency-key", "k5").send();
    let deleted = delete().await.unwrap();
    assert_eq!(deleted.status().as_u16(), 200);
    // The fork's, and that of the deletion.
    assert_eq!(gateway.kept_answers().await, 2);
    let again = delete().await.unwrap();
    assert_eq!(again.status().as_u16(), 200);
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    team.post_once(&format!("{path}/events"), "k2", events).await.refused(404);
    let repeated = format!("/v1/sessions/{}", fork["id"].as_str().unwrap());
    team.delete(&repeated).await.ok();
    assert_eq!(gateway.kept_answers().await, 1);
}
