//! Agents: resolved, versioned, paged.

use serde_json::{Value, json};

use crate::support::Gateway;

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_answered_in_the_wire_format_with_every_default() {
    let gateway = Gateway::start_alone().await;
    let team = gateway.team("a").await;
    let tools = json!([
        {"type": "agent_toolset_20260401", "configs": [{"name": "bash", "permission_policy": {"type": "always_ask"}}]},
        {"type": "mcp_toolset", "mcp_server_name": "s"},
        {"type": "custom", "name": "c", "description": "d", "input_schema": {"type": "object"}},
    ]);
    let body = json!({"name": "n", "model": "demo", "tools": tools,
        "mcp_servers": [{"type": "url", "name": "s", "url": "https://x"}]});
    let mut agent = team.post("/v1/agents", body).await.ok();
    let id = agent["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("agent_"), "{id}");
    for field in ["id", "created_at", "updated_at"] {
        assert!(agent[field].as_str().is_some_and(|text| !text.is_empty()));
        agent[field] = Value::Null;
    }
    assert_eq!(
        agent,
        json!({
            "id": null, "type": "agent", "version": 1, "name": "n", "description": null,
            "model": {"id": "demo", "effort": {"type": "high"}}, "system": null, "harness": "opencode",
            "tools": [
                {
                    "type": "agent_toolset_20260401",
                    "configs": [{"type": "bash", "name": "bash", "enabled": true, "permission_policy": {"type": "always_ask"}}],
                    "default_config": {"enabled": true, "permission_policy": {"type": "always_allow"}},
                },
                {
                    "type": "mcp_toolset", "mcp_server_name": "s", "configs": [],
                    "default_config": {"enabled": true, "permission_policy": {"type": "always_ask"}},
                },
                {"type": "custom", "name": "c", "description": "d", "input_schema": {"type": "object"}},
            ],
            "mcp_servers": [{"type": "url", "name": "s", "url": "https://x"}],
            "skills": [], "multiagent": null, "execution_identity": {"type": "service_account"}, "metadata": {},
            "created_at": null, "updated_at": null, "archived_at": null,
        })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_makes_a_version_and_a_stale_one_is_refused_for_good() {
    let gateway = Gateway::start_alone().await;
    let team = gateway.team("a").await;
    let created =
        team.post("/v1/agents", json!({"name": "n", "model": "demo", "system": "s"})).await.ok();
    let path = format!("/v1/agents/{}", created["id"].as_str().unwrap());

    let updated = team.post(&path, json!({"version": 1, "system": null})).await.ok();
    assert_eq!((&updated["version"], &updated["system"]), (&json!(2), &Value::Null));
    let unchanged = team.post(&path, json!({"name": "n"})).await.ok();
    assert_eq!(unchanged["version"], 2);

    let stale = team.post(&path, json!({"version": 1, "name": "m"})).await;
    assert_eq!(stale.refused(409)["error"]["type"], "conflict_error");
    assert_eq!(stale.header("x-should-retry"), Some("false"));

    let first = team.get(&format!("{path}?version=1")).await.ok();
    assert_eq!(first["system"], "s");
    let page = team.get(&format!("{path}/versions?limit=1")).await.ok();
    assert_eq!(page["data"][0]["version"], 2);
    let next = page["next_page"].as_str().unwrap();
    let page = team.get(&format!("{path}/versions?limit=1&page={next}")).await.ok();
    assert_eq!((&page["data"][0]["version"], &page["next_page"]), (&json!(1), &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_goes_on_over_pages_and_hides_what_is_archived() {
    let gateway = Gateway::start_alone().await;
    let team = gateway.team("a").await;
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(team.new_agent().await["id"].clone());
    }
    let archived = made.remove(0);
    let path = format!("/v1/agents/{}/archive", archived.as_str().unwrap());
    assert!(team.post_nothing(&path).await.ok()["archived_at"].is_string());

    let mut listed = Vec::new();
    let mut page = String::new();
    loop {
        let answer = team.get(&format!("/v1/agents?limit=1{page}")).await.ok();
        listed.extend(answer["data"].as_array().unwrap().iter().map(|agent| agent["id"].clone()));
        let Some(next) = answer["next_page"].as_str() else { break };
        page = format!("&page={next}");
    }
    made.reverse();
    assert_eq!(listed, made);

    let other = team.get(&format!("/v1/agents?include_archived=true{page}")).await;
    assert_eq!(other.refused(400)["error"]["details"]["error_code"], "invalid_cursor");
    let all = team.get("/v1/agents?include_archived=true").await.ok();
    assert_eq!(all["data"].as_array().unwrap().len(), 3);
    let changed = team
        .post(&format!("/v1/agents/{}", archived.as_str().unwrap()), json!({"name": "x"}))
        .await;
    assert_eq!(changed.refused(400)["error"]["details"]["error_code"], "agent_archived");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_sandbox_could_run_is_refused_with_what_there_is() {
    let gateway = Gateway::start_alone().await;
    let team = gateway.team("a").await;
    let create = async |body: Value| team.post("/v1/agents", body).await;
    let harness = create(json!({"name": "n", "model": "demo", "harness": "emacs"})).await;
    harness.refused(400);
    assert_eq!(harness.message(), "harness: there is no harness emacs; there are: opencode");
    let model = create(json!({"name": "n", "model": "gpt-9"})).await;
    model.refused(400);
    assert_eq!(
        model.message(),
        "model: LiteLLM serves no model \"gpt-9\"; it serves: demo, free-for-all, anthropic/*"
    );
    create(json!({"name": "n", "model": "anthropic/claude-5"})).await.ok();
    let unknown = create(json!({"name": "n", "model": "demo", "colour": 1})).await;
    unknown.refused(400);
    assert!(unknown.message().contains("`colour`"), "{}", unknown.message());
}
