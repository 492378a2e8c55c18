//! What belongs to one team does not exist for another: every route, taken from the OpenAPI document.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Gateway;

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_404_for_another_teams_id() {
    let gateway = Gateway::start().await;
    let (owner, other) = (gateway.team("a").await, gateway.team("b").await);
    let session = owner.new_session().await;
    let sandbox = gateway.fake.give_sandbox(session["id"].as_str().unwrap()).await.to_string();
    owner.get(&format!("/v1/sandboxes/{sandbox}")).await.ok();
    let vault = owner.post("/v1/vaults", json!({"display_name": "v"})).await.ok();
    let credentials = format!("/v1/vaults/{}/credentials", vault["id"].as_str().unwrap());
    let credential = owner.post(&credentials, body("/credentials")).await.ok();
    let named = |parameter: &str| match parameter {
        "vault_id" => vault["id"].as_str(),
        "credential_id" => credential["id"].as_str(),
        "agent_id" => session["agent"]["id"].as_str(),
        "environment_id" => session["environment_id"].as_str(),
        "session_id" => session["id"].as_str(),
        "sandbox_id" => Some(sandbox.as_str()),
        // Only the administrator may name them; a team's key is forbidden to.
        "api_key_id" | "team_id" => None,
        other => panic!("{other} is new: say whose it is"),
    };
    let document = gateway.anonymous().get("/openapi.json").await.ok();
    let mut tried = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let Some((_, rest)) = path.split_once('{') else { continue };
        let (parameter, _) = rest.split_once('}').unwrap();
        let Some(id) = named(parameter) else { continue };
        let target = path
            .replace(&format!("{{{parameter}}}"), id)
            .replace("{credential_id}", credential["id"].as_str().unwrap());
        for verb in item.as_object().unwrap().keys() {
            let method: Method = verb.to_uppercase().parse().unwrap();
            let request = other.request(&method, &target);
            let request = if method == Method::GET { request } else { request.json(&body(path)) };
            let response = request.send().await.unwrap();
            assert_eq!(
                response.status().as_u16(),
                404,
                "{method} {path}: {:?}",
                response.text().await
            );
            tried += 1;
        }
    }
    assert!(tried >= 38, "{tried} routes were tried");
    assert_eq!(
        owner.get(&format!("/v1/sessions/{}", session["id"].as_str().unwrap())).await.status,
        200
    );
}

/// A body that is fine, so that nothing but the id can be refused.
fn body(path: &str) -> Value {
    if path.ends_with("/events") {
        json!({"events": [{"type": "user.message", "content": "x"}]})
    } else if path.ends_with("/messages") {
        json!({"text": "x"})
    } else if path.ends_with("/confirmations") {
        json!({"tool_use_id": "sevt_01935a7e7c1b7e2a8f000123456789ab", "result": "allow"})
    } else if path.ends_with("/credentials") {
        json!({"auth": {"type": "static_bearer", "token": "t", "mcp_server_url": "https://mcp.example"}})
    } else if path.ends_with("/policy_check") {
        json!({"host": "example.com"})
    } else {
        json!({})
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_teams_agent_environment_and_vault_open_no_session() {
    let gateway = Gateway::start().await;
    let (owner, other) = (gateway.team("a").await, gateway.team("b").await);
    let session = owner.new_session().await;
    let agent = json!({"agent": session["agent"]["id"]});
    other.post("/v1/sessions", agent).await.refused(404);
    let own = other.new_agent().await;
    let environment = json!({"agent": own["id"], "environment_id": session["environment_id"]});
    let refused = other.post("/v1/sessions", environment).await.refused(404);
    assert_eq!(refused["error"]["details"]["error_code"], "environment_not_found");
    let vault = owner.post("/v1/vaults", json!({"display_name": "v"})).await.ok();
    let vaults = json!({"agent": own["id"], "vault_ids": [vault["id"]]});
    let refused = other.post("/v1/sessions", vaults).await.refused(404);
    assert_eq!(refused["error"]["details"]["error_code"], "vault_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_teams_cursor_is_useless() {
    let gateway = Gateway::start_alone().await;
    let (owner, other) = (gateway.team("a").await, gateway.team("b").await);
    for _ in 0..2 {
        owner.new_agent().await;
    }
    let page = owner.get("/v1/agents?limit=1").await.ok()["next_page"].clone();
    let target = format!("/v1/agents?limit=1&page={}", page.as_str().unwrap());
    other.get(&target).await.refused(400);
    owner.get(&target).await.ok();
}
