//! From `POST /api/sessions` until its sandbox is ready, against the harness started by hand.

use anyhow::Context;
use serde_json::json;
use system_tests::{Client, House};

use crate::by_hand::Place;
use crate::figures::{Report, Series};
use crate::open_until_ready;

const ROUNDS: usize = 8;

pub async fn measure(house: &House, client: &Client, report: &mut Report) -> anyhow::Result<()> {
    let agent = client.create_agent().await?;
    let cold_place = environment(client, "cold", 0).await?;
    let (mut cold, mut by_hand) = (Series::default(), Series::default());
    // In turns, so that both see the same machine.
    for _ in 0..ROUNDS {
        let body = json!({ "agent_id": agent, "environment_id": cold_place });
        let (session, milliseconds) = open_until_ready(client, &body).await?;
        cold.add(milliseconds);
        end(client, &session).await?;
        by_hand.add(Place::new(house)?.begin().await?.0);
    }
    report.compare("create → ready, cold", 0.5, &cold, ("bwrap + opencode acp by hand", &by_hand));

    let warm_place = environment(client, "warm", 1).await?;
    let body = json!({ "agent_id": agent, "environment_id": warm_place });
    let mut warm = Series::default();
    let mut tries = 0;
    while warm.len() < ROUNDS && tries < ROUNDS * 3 {
        tries += 1;
        let (session, milliseconds) = open_until_ready(client, &body).await?;
        let shown = client.get(&format!("/v1/sessions/{session}")).await?;
        if shown["startup"]["spawn_mode"] == "warm" {
            warm.add(milliseconds);
        }
        end(client, &session).await?;
        // The pool fills up again meanwhile.
        tokio::time::sleep(std::time::Duration::from_secs(8)).await;
    }
    report.compare("create → ready, warm", 0.5, &warm, ("bwrap + opencode acp by hand", &by_hand));
    Ok(())
}

/// An environment that keeps so many sandboxes warm; answers its id.
pub async fn environment(client: &Client, name: &str, pool: u32) -> anyhow::Result<String> {
    let config = json!({ "type": "cloud", "warm_pool_size": pool });
    let body = json!({ "name": name, "config": config });
    let environment = client.post("/v1/environments", &body).await?;
    Ok(environment["id"].as_str().context("no id")?.to_owned())
}

async fn end(client: &Client, session: &str) -> anyhow::Result<()> {
    client.post(&format!("/v1/sessions/{session}/archive"), &json!({})).await?;
    Ok(())
}
