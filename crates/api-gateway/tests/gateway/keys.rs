//! Who is let in.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Gateway;

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_in_without_a_key_and_is_told_how() {
    let gateway = Gateway::start_alone().await;
    let refused = gateway.anonymous().get("/v1/agents").await;
    assert_eq!(refused.refused(401)["error"]["type"], "authentication_error");
    assert!(refused.message().contains("Authorization: Bearer"), "{}", refused.message());
    let simple = gateway.anonymous().post("/api/sessions", json!({"agent_id": "x"})).await;
    assert!(simple.refused(401)["detail"].as_str().unwrap().contains("x-api-key"));
    gateway.with_key("lap_0123456789abcdef_wrong").get("/v1/agents").await.refused(401);
    gateway.with_key("the-administrator-of-a-tesT").get("/v1/agents").await.refused(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_works_in_either_header_until_it_is_revoked_or_expires() {
    let gateway = Gateway::start_alone().await;
    let administrator = gateway.administrator();
    let made = administrator.post("/v1/api_keys", json!({"name": "n"})).await.ok();
    let key = made["key"].as_str().unwrap();
    gateway.with_key(key).get("/v1/agents").await.ok();
    let request = gateway.anonymous().request(&Method::GET, "/v1/agents").header("x-api-key", key);
    assert_eq!(request.send().await.unwrap().status().as_u16(), 200);

    let listed = administrator.get("/v1/api_keys").await.ok();
    assert_eq!(listed["data"][0]["id"], made["id"]);
    assert_eq!(listed["data"][0]["key"], Value::Null);
    assert!(listed["data"][0]["last_used_at"].is_string());

    let path = format!("/v1/api_keys/{}", made["id"].as_str().unwrap());
    assert!(administrator.delete(&path).await.ok()["revoked_at"].is_string());
    gateway.with_key(key).get("/v1/agents").await.refused(401);

    let soon = chrono::DateTime::parse_from_rfc3339("2020-01-01T00:00:00Z").unwrap();
    let expired = json!({"name": "n", "expires_at": soon});
    administrator.post("/v1/api_keys", expired).await.refused(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_teams_key_makes_no_teams_and_no_keys() {
    let gateway = Gateway::start_alone().await;
    let team = gateway.team("a").await;
    team.post("/v1/teams", json!({"name": "b"})).await.refused(403);
    team.post("/v1/api_keys", json!({"name": "n"})).await.refused(403);
    assert_eq!(team.get("/v1/teams").await.ok()["data"][0]["name"], "a");
    let taken = gateway.administrator().post("/v1/teams", json!({"name": "a"})).await;
    assert_eq!(taken.refused(409)["error"]["details"]["error_code"], "team_name_taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_administrator_acts_in_the_team_that_is_named_else_in_the_default_one() {
    let gateway = Gateway::start_alone().await;
    let administrator = gateway.administrator();
    let team = administrator.post("/v1/teams", json!({"name": "a"})).await.ok();
    let agent = administrator.new_agent().await;
    let path = format!("/v1/agents/{}", agent["id"].as_str().unwrap());
    administrator.get(&path).await.ok();
    let request = administrator.request(&Method::GET, &path);
    let named = request.header("anthropic-workspace-id", team["id"].as_str().unwrap());
    assert_eq!(named.send().await.unwrap().status().as_u16(), 404);
}
