//! Environments, harnesses and models.

use serde_json::{Value, json};

use crate::support::Gateway;

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_is_resolved_changed_archived_and_deleted() {
    let gateway = Gateway::start_alone().await;
    let team = gateway.team("a").await;
    let networking = json!({"type": "limited", "allowed_hosts": ["example.com"]});
    let body = json!({"name": "n", "description": "d", "config": {"type": "cloud", "networking": networking, "image": "x"}});
    let created = team.post("/v1/environments", body).await.ok();
    assert_eq!(created["type"], "environment");
    assert_eq!(created["config"]["networking"]["allow_mcp_servers"], false);
    let empty = json!({"apt": [], "cargo": [], "gem": [], "go": [], "npm": [], "pip": []});
    assert_eq!(created["config"]["packages"], empty);
    assert_eq!(created["config"]["image"], "x");

    let path = format!("/v1/environments/{}", created["id"].as_str().unwrap());
    let updated = team.post(&path, json!({"description": null, "metadata": {"a": "1"}})).await.ok();
    assert_eq!((&updated["description"], &updated["name"]), (&Value::Null, &json!("n")));
    let updated = team.post(&path, json!({"metadata": {"a": null}})).await.ok();
    assert_eq!(updated["metadata"], json!({}));
    assert_eq!(team.get(&path).await.ok()["config"], created["config"]);

    assert!(team.post_nothing(&format!("{path}/archive")).await.ok()["archived_at"].is_string());
    let changed = team.post(&path, json!({"name": "m"})).await.refused(400);
    assert_eq!(changed["error"]["details"]["error_code"], "environment_archived");
    assert_eq!(team.get("/v1/environments").await.ok()["data"], json!([]));
    assert_eq!(
        team.delete(&path).await.ok(),
        json!({"id": created["id"], "type": "environment_deleted"})
    );
    let gone = team.get(&path).await.refused(404);
    assert_eq!(gone["error"]["details"]["error_code"], "environment_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_in_use_is_not_deleted() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let session = team.new_session().await;
    let path = format!("/v1/environments/{}", session["environment_id"].as_str().unwrap());
    assert_eq!(team.get(&path).await.ok()["name"], "default");
    let refused = team.delete(&path).await;
    assert_eq!(refused.refused(409)["error"]["details"]["error_code"], "environment_in_use");
    assert_eq!(refused.header("x-should-retry"), Some("false"));
}

#[tokio::test(flavor = "multi_thread")]
async fn harnesses_and_models_are_listed() {
    let gateway = Gateway::start_alone().await;
    let team = gateway.team("a").await;
    let harnesses = team.get("/v1/harnesses").await.ok();
    assert_eq!(harnesses["data"][0]["name"], "opencode");
    assert_eq!(harnesses["data"][0]["is_default"], true);
    let models = team.get("/v1/models").await.ok();
    assert_eq!((&models["first_id"], &models["last_id"]), (&json!("demo"), &json!("anthropic/*")));
    assert_eq!(models["data"][0]["type"], "model");
}
