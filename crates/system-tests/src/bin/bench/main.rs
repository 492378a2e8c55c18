//! `scripts/bench`: figures as ratios, each against something that is measured beside it in the same run.

#![expect(
    clippy::indexing_slicing,
    reason = "looking into a JSON value answers null, it does not panic"
)]

mod append;
mod arguments;
mod by_hand;
mod figures;
mod idle;
mod journals;
mod pages;
mod postgres;
mod proxy;
mod recovery;
mod resume;
mod starts;
mod streams;
mod tokens;
mod words;

use anyhow::Context;
use arguments::{Arguments, Group};
use clap::Parser;
use local_stack::Stack;
use system_tests::{Client, House};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    eprintln!("starting a stack of its own, with a durable database …");
    let mut house = House::build_durable().await?;
    let client = house.team().await?;
    let mut report = figures::Report::of_this_machine();
    if arguments.wants(Group::Starts) {
        eprintln!("starts …");
        starts::measure(&house, &client, &mut report).await.context("starts")?;
    }
    if arguments.wants(Group::Resume) {
        eprintln!("resumes …");
        resume::measure(&house, &client, &mut report).await.context("resumes")?;
    }
    if arguments.wants(Group::Tokens) {
        eprintln!("tokens …");
        tokens::measure(&house, &client, &mut report).await.context("tokens")?;
    }
    if arguments.wants(Group::Appends) {
        eprintln!("appends …");
        append::measure(&house, &client, &mut report).await.context("appends")?;
    }
    if arguments.wants(Group::Idle) {
        eprintln!("sessions at rest …");
        idle::measure(&house, &client, &mut report).await.context("sessions at rest")?;
    }
    if arguments.wants(Group::Journals) {
        eprintln!("journals …");
        journals::measure(&house, &client, &mut report).await.context("journals")?;
    }
    if arguments.wants(Group::Pages) {
        eprintln!("pages …");
        pages::measure(&house, &client, &mut report).await.context("pages")?;
    }
    if arguments.wants(Group::Streams) {
        eprintln!("streams …");
        streams::measure(&house, &client, &mut report).await.context("streams")?;
    }
    if arguments.wants(Group::Proxy) {
        eprintln!("proxy …");
        proxy::measure(&house, &arguments.mitmdump, &mut report).await.context("proxy")?;
    }
    memory(&house.stack, &mut report);
    if arguments.wants(Group::Recovery) {
        eprintln!("recovery …");
        recovery::measure(&mut house, &mut report).await.context("recovery")?;
    }
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

fn milliseconds_since(begun: std::time::Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1000.0
}
