//! Vaults: named sets of credentials.

use serde_json::{Value, json};

use crate::support::Gateway;

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_is_made_shown_changed_archived_and_deleted() {
    let gateway = Gateway::start_alone().await;
    let team = gateway.team("a").await;
    let body = json!({"display_name": "for deploys", "metadata": {"a": "1", "b": "2"}});
    let made = team.post("/v1/vaults", body).await.ok();
    assert_eq!(made["type"], "vault");
    assert!(made["id"].as_str().unwrap().starts_with("vlt_"), "{made}");
    assert_eq!(made["archived_at"], Value::Null);
    let path = format!("/v1/vaults/{}", made["id"].as_str().unwrap());
    assert_eq!(team.get(&path).await.ok(), made);

    let change = json!({"display_name": "renamed", "metadata": {"a": null, "c": "3"}});
    let changed = team.post(&path, change).await.ok();
    assert_eq!(changed["display_name"], "renamed");
    assert_eq!(changed["metadata"], json!({"b": "2", "c": "3"}));

    let archived = team.post_nothing(&format!("{path}/archive")).await.ok();
    assert!(archived["archived_at"].is_string());
    assert_eq!(team.post_nothing(&format!("{path}/archive")).await.ok(), archived);
    assert_eq!(team.get("/v1/vaults").await.ok()["data"], json!([]));
    let all = team.get("/v1/vaults?include_archived=true").await.ok();
    assert_eq!(all["data"], json!([archived]));
    let refused = team.post(&path, json!({"display_name": "again"})).await.refused(400);
    assert_eq!(refused["error"]["details"]["error_code"], "vault_archived");
    let agent = team.new_agent().await;
    let session = json!({"agent": agent["id"], "vault_ids": [made["id"]]});
    let refused = team.post("/v1/sessions", session).await.refused(400);
    assert_eq!(refused["error"]["details"]["error_code"], "vault_archived");

    let deleted = team.delete(&path).await.ok();
    assert_eq!(deleted, json!({"id": made["id"], "type": "vault_deleted"}));
    team.get(&path).await.refused(404);
    team.delete(&path).await.refused(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_vault_cannot_be_is_refused() {
    let gateway = Gateway::start_alone().await;
    let team = gateway.team("a").await;
    for (body, place) in [
        (json!({}), "missing field `display_name`"),
        (json!({"display_name": ""}), "display_name: "),
        (json!({"display_name": "x".repeat(256)}), "display_name: "),
        (json!({"display_name": "x", "metadata": {"k": "v".repeat(513)}}), "metadata.k: "),
        (json!({"display_name": "x", "colour": 1}), "colour: "),
    ] {
        let answer = team.post("/v1/vaults", body.clone()).await;
        answer.refused(400);
        assert!(answer.message().starts_with(place), "{body}: {}", answer.message());
    }
    team.get("/v1/vaults?limit=101").await.refused(400);
    team.get("/v1/vaults?page=nonsense").await.refused(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn vaults_are_listed_page_by_page() {
    let gateway = Gateway::start_alone().await;
    let team = gateway.team("a").await;
    let mut made = Vec::new();
    for name in ["one", "two", "three"] {
        made.push(team.post("/v1/vaults", json!({"display_name": name})).await.ok());
    }
    made.reverse();
    let first = team.get("/v1/vaults?limit=2").await.ok();
    let next = first["next_page"].as_str().unwrap();
    let second = team.get(&format!("/v1/vaults?limit=2&page={next}")).await.ok();
    assert_eq!(second["next_page"], Value::Null);
    let all = [first["data"].as_array().unwrap(), second["data"].as_array().unwrap()];
    assert_eq!(all.into_iter().flatten().cloned().collect::<Vec<_>>(), made);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_opened_with_vaults_each_of_them_once() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let vault = team.post("/v1/vaults", json!({"display_name": "one"})).await.ok()["id"].clone();
    let other = team.post("/v1/vaults", json!({"display_name": "two"})).await.ok()["id"].clone();
    let agent = team.new_agent().await["id"].clone();
    let body = json!({"agent": agent, "vault_ids": [other, vault, other]});
    let session = team.post("/v1/sessions", body).await.ok();
    assert_eq!(session["vault_ids"], json!([other, vault]));
    let nobody = "vlt_01935a7e7c1b7e2a8f000123456789ab";
    let refused = team.post("/v1/sessions", json!({"agent": agent, "vault_ids": [nobody]})).await;
    assert_eq!(refused.refused(404)["error"]["details"]["error_code"], "vault_not_found");
    let refused = team.post("/v1/sessions", json!({"agent": agent, "vault_ids": ["x"]})).await;
    refused.refused(400);
    assert!(refused.message().starts_with("vault_ids[0]: "), "{}", refused.message());
}
