//! Sessions: opened, found again, changed, listed, ended.

use serde_json::{Value, json};

use crate::support::Gateway;

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_answered_in_the_wire_format() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let session = team.new_session().await;
    assert_eq!((&session["type"], &session["status"]), (&json!("session"), &json!("idle")));
    for list in ["resources", "outcome_evaluations", "vault_ids"] {
        assert_eq!(session[list], json!([]), "{list}");
    }
    for object in ["metadata", "stats", "usage", "agent"] {
        assert!(session[object].is_object(), "{object}");
    }
    let agent = &session["agent"];
    assert_eq!((&agent["type"], &agent["version"]), (&json!("agent"), &json!(1)));
    assert_eq!(agent["execution_identity"], json!({"type": "service_account"}));
    assert_eq!(session["harness"], "opencode");
    assert_eq!(session["startup"]["phase"], "queued");
    let path = format!("/v1/sessions/{}", session["id"].as_str().unwrap());
    assert_eq!(team.get(&path).await.ok()["agent"], session["agent"]);
    let bare = session["id"].as_str().unwrap().trim_start_matches("sesn_");
    assert_eq!(team.get(&format!("/v1/sessions/{bare}")).await.ok()["id"], session["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_context_is_the_same_live_session() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let agent = team.new_agent().await;
    let body = json!({"agent": {"type": "agent", "id": agent["id"], "version": 1}, "context": "slack:T1:C1:1"});
    let first = team.post("/v1/sessions", body.clone()).await.ok();
    assert_eq!(team.post("/v1/sessions", body.clone()).await.ok()["id"], first["id"]);
    assert_eq!(first["context"], "slack:T1:C1:1");
    let path = format!("/v1/sessions/{}", first["id"].as_str().unwrap());
    assert!(team.post_nothing(&format!("{path}/archive")).await.ok()["archived_at"].is_string());
    assert_ne!(team.post("/v1/sessions", body).await.ok()["id"], first["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn overrides_count_for_the_session_alone() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let body = json!({"name": "n", "model": "demo", "system": "s",
        "tools": [{"type": "agent_toolset_20260401"}]});
    let agent = team.post("/v1/agents", body).await.ok();
    let reference =
        json!({"type": "agent_with_overrides", "id": agent["id"], "system": null, "tools": []});
    let session = team.post("/v1/sessions", json!({"agent": reference})).await.ok();
    assert_eq!(
        (&session["agent"]["system"], &session["agent"]["tools"]),
        (&Value::Null, &json!([]))
    );
    let path = format!("/v1/agents/{}", agent["id"].as_str().unwrap());
    assert_eq!(team.get(&path).await.ok()["system"], "s");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_opened_says_why() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let agent = team.new_agent().await;
    let open = async |extra: Value| {
        let mut body = json!({"agent": agent["id"]});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        team.post("/v1/sessions", body).await
    };
    for (extra, reason) in [
        (json!({"resources": [{"type": "file", "file_id": "f"}]}), "resources: "),
        (json!({"budget": {"type": "limit"}}), "budget"),
        (json!({"initial_events": [{"type": "user.interrupt"}]}), "initial_events[0].type: "),
        (json!({"agent": "nonsense"}), "agent: "),
        (json!({"metadata": {"k": "v".repeat(513)}}), "metadata.k: "),
        (json!({"colour": 1}), "unknown field `colour`"),
    ] {
        let refused = open(extra.clone()).await;
        refused.refused(400);
        assert!(refused.message().contains(reason), "{extra}: {}", refused.message());
    }
    open(json!({"environment_id": "env_01935a7e7c1b7e2a8f000123456789ab"})).await.refused(404);
    let path = format!("/v1/agents/{}/archive", agent["id"].as_str().unwrap());
    team.post_nothing(&path).await.ok();
    assert_eq!(
        open(json!({})).await.refused(400)["error"]["details"]["error_code"],
        "agent_archived"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_is_written_into_the_log() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let session = team.new_session().await;
    let path = format!("/v1/sessions/{}", session["id"].as_str().unwrap());
    let updated = team.post(&path, json!({"title": "t", "metadata": {"a": "1"}})).await.ok();
    assert_eq!((&updated["title"], &updated["metadata"]), (&json!("t"), &json!({"a": "1"})));
    let events = team.get(&format!("{path}/events")).await.ok();
    assert_eq!(events["data"][0]["type"], "session.updated");
    team.post(&path, json!({"vault_ids": []})).await.refused(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_filtered_and_goes_in_both_directions() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let agent = team.new_agent().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(team.post("/v1/sessions", json!({"agent": agent["id"]})).await.ok()["id"].clone());
    }
    team.new_session().await;
    let filter = format!("agent_id={}&statuses%5B%5D=idle&limit=2", agent["id"].as_str().unwrap());
    let first = team.get(&format!("/v1/sessions?{filter}")).await.ok();
    assert_eq!((&first["data"][0]["id"], &first["data"][1]["id"]), (&ids[2], &ids[1]));
    assert_eq!(first["prev_page"], Value::Null);
    let next = first["next_page"].as_str().unwrap();
    let second = team.get(&format!("/v1/sessions?{filter}&page={next}")).await.ok();
    assert_eq!((&second["data"][0]["id"], &second["next_page"]), (&ids[0], &Value::Null));
    let previous = second["prev_page"].as_str().unwrap();
    let back = team.get(&format!("/v1/sessions?{filter}&page={previous}")).await.ok();
    assert_eq!(back["data"][0]["id"], ids[2]);
    let running = team.get("/v1/sessions?statuses[]=running").await.ok();
    assert_eq!(running["data"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_session_is_gone() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let session = team.new_session().await;
    let path = format!("/v1/sessions/{}", session["id"].as_str().unwrap());
    assert_eq!(
        team.delete(&path).await.ok(),
        json!({"id": session["id"], "type": "session_deleted"})
    );
    team.get(&path).await.refused(404);
    team.delete(&path).await.refused(404);
}
