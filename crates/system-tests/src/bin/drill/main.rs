//! `scripts/drill`: conversations under way while everything around them is broken, and the proof that nothing of them is lost.

#![expect(
    clippy::indexing_slicing,
    reason = "looking into a JSON value answers null, it does not panic"
)]

mod arguments;
mod chaos;
mod choices;
mod crossing;
mod evidence;
mod ground;
mod journals;
mod judge;
mod reader;
mod record;
mod report;
mod script;
mod stage;
mod user;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use futures::future::join_all;
use local_stack::DataDirectory;
use serde_json::json;
use system_tests::GaveUp;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{interval, sleep_until};

use crate::arguments::Arguments;
use crate::chaos::{Chaos, Kind};
use crate::choices::Choices;
use crate::evidence::Evidence;
use crate::ground::Ground;
use crate::judge::Fault;
use crate::record::Record;
use crate::report::Report;
use crate::stage::{Phase, Roll, Stage};
use crate::user::Calling;

const PROGRESS_EVERY: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> ExitCode {
    match drill(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("drill: {failure:#}");
            ExitCode::FAILURE
        }
    }
}

/// Answers whether nothing was lost.
async fn drill(arguments: Arguments) -> anyhow::Result<bool> {
    let seed = arguments.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let ground = Arc::new(Ground::prepare(&arguments).await?);
    let record = Arc::new(Record::new());
    record.say(&format!(
        "seed {seed}, {} sessions at {}",
        arguments.sessions,
        ground.urls.join(", ")
    ));
    let client = ground.client()?;
    let run = uuid::Uuid::new_v4().simple().to_string();
    let body = json!({ "name": format!("drill-{run}"), "model": "demo" });
    let agent = client.post("/v1/agents", &body, &format!("{run}-agent"), PROGRESS_EVERY).await?;
    let agent = agent.body["id"].as_str().context("the agent has no id")?.to_owned();

    let stage = Stage::lasting(arguments.duration);
    let (tell_stage, watched) = watch::channel(stage);
    let roll = Arc::new(Roll::default());
    let calling = Calling {
        client: client.clone(),
        seed,
        run,
        agent,
        stage: watched,
        settle: arguments.settle,
        roll: Arc::clone(&roll),
        workspaces: ground.workspaces(),
    };
    let users: Vec<JoinHandle<Result<Evidence, GaveUp>>> = (1..=arguments.sessions)
        .map(|number| tokio::spawn(user::work(calling.clone(), number)))
        .collect();
    let progress = tokio::spawn(tell_progress(Arc::clone(&record), Arc::clone(&roll)));

    let kinds = kinds(&arguments, &ground)?;
    let chaos = Chaos {
        ground: Arc::clone(&ground),
        client,
        roll,
        record: Arc::clone(&record),
        sessions: arguments.sessions,
    };
    let choices = Choices::of(seed, "chaos");
    chaos::rage(Arc::new(chaos), &kinds, arguments.every, choices, stage.chaos_ends).await;
    sleep_until(stage.chaos_ends).await;
    tell_stage.send_replace(Stage { phase: Phase::Repair, ..stage });
    record.say("nothing more is broken; waiting until everything is back");
    let mut report = Report::default();
    for (process, log) in ground.ended_by_themselves() {
        let end = DataDirectory::tail(&log, 5);
        report.add(Fault::Wrong, &format!("{process} ended, and nobody had ended it:\n{end}"));
    }
    if let Err(failure) = ground.repair().await {
        report.add(Fault::Stuck, &format!("the stack does not get whole again: {failure:#}"));
    }
    tell_stage.send_replace(Stage { phase: Phase::Peace, ..stage });
    record.say("everything is back; waiting for the turns to end");

    let kept = arguments.evidence.clone();
    let mut all = Vec::new();
    for (user, outcome) in (1..).zip(join_all(users).await) {
        match outcome {
            Ok(Ok(evidence)) => {
                report.add_session(&evidence, judge::judge(&evidence, record.excuses(user)));
                all.push(evidence);
            }
            Ok(Err(failure)) => report.add(Fault::Stuck, &format!("session {user}: {failure}")),
            Err(failure) => {
                report.add(
                    Fault::Stuck,
                    &format!("session {user}: the drill itself failed: {failure}"),
                );
            }
        }
    }
    progress.abort();
    report.print(&record, seed);
    if let Some(folder) = kept {
        keep(&all, &folder)?;
    }
    let is_clean = report.is_clean();
    let ground = Arc::into_inner(ground).context("a blow is still under way")?;
    if let Some(folder) = ground.leave(!is_clean) {
        keep(&all, &folder.join("evidence"))?;
        println!("logs, streams and requests of every session are kept in {}", folder.display());
    }
    Ok(is_clean)
}

async fn tell_progress(record: Arc<Record>, roll: Arc<Roll>) {
    let mut ticks = interval(PROGRESS_EVERY);
    loop {
        ticks.tick().await;
        record.say(&format!("progress {}", roll.standing()));
    }
}

/// What may be broken here: of somebody else's installation, only sandboxes.
fn kinds(arguments: &Arguments, ground: &Ground) -> anyhow::Result<Vec<Kind>> {
    let wanted = if arguments.only.is_empty() {
        Kind::ALL.to_vec()
    } else {
        arguments.only.iter().map(|word| word.parse()).collect::<anyhow::Result<Vec<Kind>>>()?
    };
    let is_possible =
        |kind: &Kind| wanted.contains(kind) && (ground.stack.is_some() || *kind == Kind::Sandbox);
    // In one order, so that a seed means the same however its kinds were listed.
    Ok(Kind::ALL.into_iter().filter(is_possible).collect())
}

fn keep(all: &[Evidence], folder: &Path) -> anyhow::Result<()> {
    let kept = all.iter().try_for_each(|evidence| evidence.keep(folder));
    kept.with_context(|| format!("cannot write to {}", folder.display()))
}
