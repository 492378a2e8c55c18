//! `scripts/bench`: figures as ratios, each against something that is measured beside it in the same run.

#![expect(
    clippy::indexing_slicing,
    reason = "looking into a JSON value answers null, it does not panic"
)]

mod append;
mod by_hand;
mod figures;
mod starts;
mod tokens;

use anyhow::Context;
use local_stack::Stack;
use system_tests::{Client, House};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    eprintln!("starting a stack of its own, with a durable database …");
    let house = House::build_durable().await?;
    let client = house.team().await?;
    let mut report = figures::Report::of_this_machine();
    eprintln!("starts …");
    starts::measure(&house, &client, &mut report).await.context("starts")?;
    eprintln!("tokens …");
    tokens::measure(&house, &client, &mut report).await.context("tokens")?;
    eprintln!("appends …");
    append::measure(&house, &client, &mut report).await.context("appends")?;
    memory(&house.stack, &mut report);
    println!("{report}");
    Ok(())
}

/// What each service holds while nothing happens but what the figures before left behind.
fn memory(stack: &Stack, report: &mut figures::Report) {
    for (name, _, pid) in stack.processes() {
        if let Some(mebibytes) = pid.and_then(figures::resident_mebibytes) {
            report.note(&format!("RSS of {name} after these runs"), &format!("{mebibytes} MiB"));
        }
    }
}

/// Opens a session and answers its id and the milliseconds until it was ready.
async fn open_until_ready(
    client: &Client,
    body: &serde_json::Value,
) -> anyhow::Result<(String, f64)> {
    let begun = std::time::Instant::now();
    let session = client.post("/api/sessions", body).await?;
    let id = session["id"].as_str().context("no id")?.to_owned();
    client.until_ready(&id).await?;
    Ok((id, begun.elapsed().as_secs_f64() * 1000.0))
}
