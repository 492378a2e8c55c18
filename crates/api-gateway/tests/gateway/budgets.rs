//! Money: what sessions and teams may spend and have spent.

use serde_json::{Value, json};

use crate::support::Gateway;

fn limit(cents: &str) -> Value {
    json!({"type": "limit", "max_list_cost": {"amount": cents, "currency": "USD"}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_shows_its_budget_and_what_it_has_spent() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let agent = team.new_agent().await["id"].clone();
    let session = team.post("/v1/sessions", json!({"agent": agent, "budget": limit("2500")})).await;
    let session = session.ok();
    assert_eq!(session["budget"], limit("2500"));
    let usage = json!({
        "input_tokens": 0, "output_tokens": 0, "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_1h_input_tokens": 0, "ephemeral_5m_input_tokens": 0},
        "list_cost": {"amount": "0", "currency": "USD"}, "cost_usd": "0",
    });
    assert_eq!(session["usage"], usage);
    let path = format!("/v1/sessions/{}", session["id"].as_str().unwrap());
    let raised = team.post(&path, json!({"budget": limit("2500.5")})).await.ok();
    assert_eq!(raised["budget"], limit("2500.5"));
    assert_eq!(team.post(&path, json!({"title": "t"})).await.ok()["budget"], limit("2500.5"));
    let spent = team.post(&path, json!({"budget": limit("0")})).await.refused(400);
    assert_eq!(spent["error"]["details"]["error_code"], "budget_not_raised");
    assert_eq!(team.post(&path, json!({"budget": null})).await.ok()["budget"], Value::Null);
    let late = team.post(&path, json!({"budget": limit("1")})).await.refused(400);
    assert_eq!(late["error"]["details"]["error_code"], "budget_create_only");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_needs_a_model_whose_price_is_known() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let agent = json!({"name": "n", "model": "free-for-all"});
    let agent = team.post("/v1/agents", agent).await.ok()["id"].clone();
    let refused = team.post("/v1/sessions", json!({"agent": agent, "budget": limit("1")})).await;
    let refused = refused.refused(400);
    assert_eq!(refused["error"]["details"]["error_code"], "model_not_budgetable");
    team.post("/v1/sessions", json!({"agent": agent})).await.ok();
    // The price behind a pattern is LiteLLM's to know.
    let other = json!({"type": "agent_with_overrides", "id": agent, "model": "anthropic/claude"});
    team.post("/v1/sessions", json!({"agent": other, "budget": limit("1")})).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn budgets_that_make_no_sense_are_refused() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let agent = team.new_agent().await["id"].clone();
    for budget in [
        limit("-1"),
        limit("1e3"),
        limit(""),
        json!({"type": "other", "max_list_cost": {"amount": "1", "currency": "USD"}}),
        json!({"type": "limit", "max_list_cost": {"amount": "1", "currency": "EUR"}}),
        json!({"type": "limit", "max_list_cost": {"amount": 1, "currency": "USD"}}),
        json!({"type": "limit"}),
        json!(5),
    ] {
        let refused = team.post("/v1/sessions", json!({"agent": agent, "budget": budget})).await;
        refused.refused(400);
        assert!(refused.message().starts_with("budget"), "{budget}: {}", refused.message());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_administrator_says_what_a_team_may_spend_and_reach() {
    let gateway = Gateway::start_alone().await;
    let administrator = gateway.administrator();
    let made = administrator.post("/v1/teams", json!({"name": "a"})).await.ok();
    let spent = json!({"amount": "0", "currency": "USD"});
    assert_eq!((&made["budget"], &made["internal_hosts"]), (&Value::Null, &json!([])));
    assert_eq!(made["spent"], spent);
    let path = format!("/v1/teams/{}", made["id"].as_str().unwrap());
    let hosts = json!(["git.corp:8080", "*.corp", "10.0.0.1"]);
    let set = json!({"budget": limit("100"), "internal_hosts": hosts});
    let changed = administrator.post(&path, set).await.ok();
    assert_eq!((&changed["budget"], &changed["internal_hosts"]), (&limit("100"), &hosts));
    let kept = administrator.post(&path, json!({"archive_inactive_after_seconds": 60})).await.ok();
    assert_eq!((&kept["budget"], &kept["internal_hosts"]), (&limit("100"), &hosts));
    assert_eq!(administrator.get(&path).await.ok(), kept);
    for wrong in [
        json!({"spent": spent}),
        json!({"budget": limit("x")}),
        json!({"internal_hosts": ["https://git.corp"]}),
        json!({"internal_hosts": ["*"]}),
        json!({"internal_hosts": vec!["a.corp"; 257]}),
    ] {
        administrator.post(&path, wrong).await.refused(400);
    }
    let cleared = administrator.post(&path, json!({"budget": null, "internal_hosts": null})).await;
    let cleared = cleared.ok();
    assert_eq!((&cleared["budget"], &cleared["internal_hosts"]), (&Value::Null, &json!([])));
    gateway.team("b").await.post(&path, json!({"budget": null})).await.refused(403);
}
