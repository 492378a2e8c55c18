//! Variables of environments, agents and sessions: secrets among them are sealed, and nothing shows them again.

use serde_json::{Value, json};

use crate::support::{Actor, Gateway};

fn variables() -> Value {
    json!({
        "GITHUB_TOKEN": "s3same-token-1",
        "LOG_LEVEL": "debug",
        "OWN": {"value": "s3same-own-2", "secret": true, "allowed_hosts": ["api.example.com"]},
    })
}

/// What is shown of [`variables`], with the ids of the secrets.
#[track_caller]
fn assert_shown(shown: &Value) {
    let plain = json!({"type": "plain", "value": "debug"});
    assert_eq!(shown["LOG_LEVEL"], plain);
    assert_eq!(shown["GITHUB_TOKEN"]["type"], "secret");
    assert_eq!(shown["GITHUB_TOKEN"]["allowed_hosts"][0], "github.com");
    assert_eq!(shown["OWN"]["allowed_hosts"], json!(["api.example.com"]));
    assert!(shown["OWN"]["secret_id"].is_string());
    assert!(!shown.to_string().contains("s3same"), "{shown}");
}

async fn names(gateway: &Gateway) -> Vec<(String, String)> {
    gateway.opened_secrets().await
}

fn stored(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

const BOTH: [(&str, &str); 2] = [("GITHUB_TOKEN", "s3same-token-1"), ("OWN", "s3same-own-2")];

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_has_variables_whose_secrets_go_with_it() {
    let gateway = Gateway::start_alone().await;
    let team = gateway.team("a").await;
    let body =
        json!({"name": "n", "config": {"type": "cloud", "environment_variables": variables()}});
    let answer = team.post_once("/v1/environments", "k", body.clone()).await;
    let made = answer.ok();
    assert_shown(&made["config"]["environment_variables"]);
    assert_eq!(team.post_once("/v1/environments", "k", body).await.text, answer.text);
    assert_eq!(names(&gateway).await, stored(&BOTH));

    let path = format!("/v1/environments/{}", made["id"].as_str().unwrap());
    assert_eq!(team.get(&path).await.ok(), made);
    let change = json!({"GITHUB_TOKEN": "s3same-new-3", "OWN": null, "LOG_LEVEL": null, "A": "a"});
    let body = json!({"config": {"type": "cloud", "environment_variables": change}});
    let changed = team.post(&path, body).await.ok()["config"]["environment_variables"].clone();
    assert_eq!(changed.as_object().unwrap().keys().collect::<Vec<_>>(), ["A", "GITHUB_TOKEN"]);
    assert_eq!(names(&gateway).await, stored(&[("GITHUB_TOKEN", "s3same-new-3")]));
    let kept = team.post(&path, json!({"name": "renamed"})).await.ok();
    assert_eq!(kept["config"]["environment_variables"], changed);
    assert!(!gateway.dump().await.contains("s3same"));
    team.delete(&path).await.ok();
    assert_eq!(names(&gateway).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_in_use_keeps_its_secrets() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let body =
        json!({"name": "n", "config": {"type": "cloud", "environment_variables": variables()}});
    let environment = team.post("/v1/environments", body).await.ok()["id"].clone();
    let agent = team.new_agent().await["id"].clone();
    team.post("/v1/sessions", json!({"agent": agent, "environment_id": environment})).await.ok();
    team.delete(&format!("/v1/environments/{}", environment.as_str().unwrap())).await.refused(409);
    assert_eq!(names(&gateway).await, stored(&BOTH));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_earlier_versions_keep_their_secrets() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let body = json!({"name": "n", "model": "demo", "environment_variables": variables()});
    let made = team.post("/v1/agents", body).await.ok();
    assert_shown(&made["environment_variables"]);
    let path = format!("/v1/agents/{}", made["id"].as_str().unwrap());
    let change = json!({"environment_variables": {"OWN": null, "GITHUB_TOKEN": "s3same-new-3"}});
    let changed = team.post(&path, change).await.ok();
    assert_eq!(changed["version"], 2);
    assert_eq!(changed["environment_variables"]["OWN"], Value::Null);
    assert_shown(&team.get(&format!("{path}?version=1")).await.ok()["environment_variables"]);
    let all = [BOTH[0], ("GITHUB_TOKEN", "s3same-new-3"), BOTH[1]];
    assert_eq!(names(&gateway).await, stored(&all));
    let stale = json!({"version": 1, "environment_variables": {"OWN": "s3same-lost-4"}});
    team.post(&path, stale).await.refused(409);
    assert_eq!(names(&gateway).await, stored(&all));

    // A session pins them, and its events say no more than the agent does.
    let session = team.post("/v1/sessions", json!({"agent": made["id"]})).await;
    assert!(session.ok()["agent"]["environment_variables"]["GITHUB_TOKEN"].is_object());
    let path = format!("/v1/sessions/{}", session.body()["id"].as_str().unwrap());
    team.post(&path, json!({"title": "t", "agent": {"tools": []}})).await.ok();
    let events = team.get(&format!("{path}/events?limit=1000")).await;
    assert!(!events.text.contains("s3same") && !session.text.contains("s3same"));
    assert!(!gateway.dump().await.contains("s3same"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_has_variables_of_its_own() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let agent = team.new_agent().await["id"].clone();
    let body = json!({"agent": agent, "context": "c", "environment_variables": variables()});
    let session = team.post_once("/v1/sessions", "k", body.clone()).await;
    assert_shown(&session.ok()["environment_variables"]);
    assert_eq!(team.post_once("/v1/sessions", "k", body.clone()).await.text, session.text);
    let path = format!("/v1/sessions/{}", session.body()["id"].as_str().unwrap());
    assert_shown(&team.get(&path).await.ok()["environment_variables"]);
    assert_eq!(names(&gateway).await, stored(&BOTH));
    // Found again, it has those that it was opened with.
    let again = team.post("/v1/sessions", body).await.ok();
    assert_eq!(again["id"], session.body()["id"]);
    assert_eq!(names(&gateway).await, stored(&BOTH));
    assert!(!gateway.dump().await.contains("s3same"));
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_a_session_that_is_not_opened_are_not_kept() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let body = json!({"agent": "agent_01935a7e7c1b7e2a8f000123456789ab", "environment_variables": variables()});
    team.post("/v1/sessions", body).await.refused(404);
    assert_eq!(names(&gateway).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_that_cannot_be_are_refused_without_their_values() {
    let gateway = Gateway::start_alone().await;
    let team: Actor = gateway.team("a").await;
    for (variables, place) in [
        (json!({"PATH": "s3same"}), "environment_variables: PATH is set by the platform"),
        (json!({"https_proxy": "s3same"}), "environment_variables: https_proxy is set"),
        (json!({"A=B": "s3same"}), "environment_variables: "),
        (json!({"A": 53_532}), "environment_variables.A: invalid type integer"),
        (json!({"A_KEY": "s3same\r\nx: y"}), "environment_variables.A_KEY: "),
        (
            json!({"A_KEY": {"value": "s3same", "allowed_hosts": ["https://x"]}}),
            "environment_variables.A_KEY.allowed_hosts[0]: ",
        ),
        (json!({"A": {"valeu": "s3same"}}), "environment_variables.A"),
    ] {
        let body = json!({"name": "n", "model": "demo", "environment_variables": variables});
        let refused = team.post("/v1/agents", body).await;
        refused.refused(400);
        assert!(refused.message().starts_with(place), "{}", refused.message());
        assert!(!refused.text.contains("s3same") && !refused.text.contains("53532"));
    }
    assert_eq!(names(&gateway).await, []);
}
