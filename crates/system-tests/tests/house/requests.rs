//! Bad requests get clear answers and lose nothing.

use anyhow::{Context, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use system_tests::Client;

use crate::{Scenarios, Shared};

pub(crate) fn add_to(scenarios: &mut Scenarios<'_>) {
    scenarios.add("wrong_requests_say_what_is_wrong", wrong_requests);
    scenarios.add("another_teams_ids_are_not_found", another_teams_ids);
    scenarios.add("a_repeated_key_is_answered_as_the_first_time", repeated_key);
    scenarios.add("a_key_that_is_revoked_opens_nothing", revoked_key);
}

async fn status(
    client: &Client,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<(StatusCode, String)> {
    let response = client.send(method, path, body).await?;
    Ok((response.status(), response.text().await?))
}

async fn wrong_requests(house: Shared) -> anyhow::Result<()> {
    let client = house.lock().await.team().await?;
    let huge = json!({ "name": "x".repeat(2 * 1024 * 1024), "model": "demo" });
    let cases: [(&str, Value, u16, &str); 6] = [
        ("/v1/agents", json!({ "name": "n" }), 400, "model"),
        ("/v1/agents", json!({ "name": 7, "model": "demo" }), 400, "name"),
        ("/v1/agents", json!({ "name": "n", "model": "demo", "colour": 1 }), 400, "colour"),
        (
            "/v1/agents",
            json!({ "name": "n", "model": "demo", "harness": "no-such" }),
            400,
            "opencode",
        ),
        ("/v1/agents", json!({ "name": "n", "model": "no-such" }), 400, "no-such"),
        ("/v1/agents", huge, 413, "1 MiB"),
    ];
    for (path, body, wanted, word) in cases {
        let (status, text) = status(&client, Method::POST, path, Some(&body)).await?;
        ensure!(status.as_u16() == wanted && text.contains(word), "{status} {text}");
    }
    let (status, text) = status(&client, Method::GET, "/v1/nothing", None).await?;
    ensure!(status == StatusCode::NOT_FOUND && text.contains("request_id"), "{status} {text}");
    Ok(())
}

async fn another_teams_ids(house: Shared) -> anyhow::Result<()> {
    let house = house.lock().await;
    let (owner, stranger) = (house.team().await?, house.team().await?);
    let agent = owner.create_agent().await?;
    let session = owner.open_session(&agent).await?;
    let paths = [
        format!("/v1/agents/{agent}"),
        format!("/v1/sessions/{session}"),
        format!("/v1/sessions/{session}/events"),
        format!("/v1/sessions/{session}/events/stream"),
        format!("/api/sessions/{session}"),
    ];
    for path in paths {
        let (status, text) = status(&stranger, Method::GET, &path, None).await?;
        ensure!(status == StatusCode::NOT_FOUND, "{path}: {status} {text}");
    }
    let opening = json!({ "agent_id": agent });
    let (status, text) = status(&stranger, Method::POST, "/api/sessions", Some(&opening)).await?;
    ensure!(status == StatusCode::NOT_FOUND, "{status} {text}");
    Ok(())
}

async fn repeated_key(house: Shared) -> anyhow::Result<()> {
    let client = house.lock().await.team().await?;
    let agent = client.create_agent().await?;
    let keyed = client.with_header("Idempotency-Key", "the-same")?;
    let body = json!({ "agent_id": agent });
    let first = keyed.post("/api/sessions", &body).await?;
    let second = keyed.post("/api/sessions", &body).await?;
    ensure!(first["id"] == second["id"], "{first} {second}");
    let other = json!({ "agent_id": agent, "title": "another" });
    let (status, text) = status(&keyed, Method::POST, "/api/sessions", Some(&other)).await?;
    ensure!(status == StatusCode::CONFLICT, "{status} {text}");
    Ok(())
}

async fn revoked_key(house: Shared) -> anyhow::Result<()> {
    let house = house.lock().await;
    let administrator = house.administrator()?;
    let team = administrator.post("/v1/teams", &json!({ "name": "short-lived" })).await?;
    let body = json!({ "team_id": team["id"], "name": "k" });
    let key = administrator.post("/v1/api_keys", &body).await?;
    let client = Client::new(house.stack.url(), key["key"].as_str().context("no key")?)?;
    client.get("/v1/agents").await?;
    let id = key["id"].as_str().context("no id")?;
    administrator.delete(&format!("/v1/api_keys/{id}")).await?;
    let (status, text) = status(&client, Method::GET, "/v1/agents", None).await?;
    ensure!(status == StatusCode::UNAUTHORIZED, "{status} {text}");
    Ok(())
}
