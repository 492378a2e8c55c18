//! Every service is replaced, one replica after the other, while agents work.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures::future::try_join_all;
use local_stack::{Part, Signal};
use serde_json::{Value, json};
use system_tests::{House, PatientClient};
use tokio::sync::{Barrier, watch};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::conversations::{of_type, text};
use crate::{Scenarios, Shared};

/// Nothing takes longer, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_mins(3);
const SESSIONS: usize = 3;
const WORDS: usize = 25;

pub(crate) fn add_to(scenarios: &mut Scenarios<'_>) {
    scenarios.add("a_rolling_restart_of_everything_under_load_loses_nothing", rolling_restart);
}

async fn rolling_restart(house: Shared) -> anyhow::Result<()> {
    let mut house = house.lock().await;
    let client = house.patient_team().await?;
    let agent = json!({ "name": "coder", "model": "demo" });
    let agent = client.post("/v1/agents", &agent, &key(), PATIENCE).await?.body["id"].clone();
    let (end, is_over) = watch::channel(false);
    let begun = Arc::new(Barrier::new(SESSIONS + 1));
    let work = (0..SESSIONS)
        .map(|_| tokio::spawn(work(client.clone(), agent.clone(), begun.clone(), is_over.clone())));
    let work: Vec<_> = work.collect();
    timeout(PATIENCE, begun.wait()).await.context("the first turns did not end")?;
    let replaced = replace_everything(&mut house).await;
    end.send_replace(true);
    for turns in try_join_all(work).await? {
        ensure!(turns? > 2, "hardly anything was going on");
    }
    replaced
}

async fn replace_everything(house: &mut House) -> anyhow::Result<()> {
    for part in Part::SERVICES {
        for replica in house.replicas(part) {
            // So that each end meets turns that are under way.
            sleep(Duration::from_secs(1)).await;
            house.stack.kill(replica, Signal::SIGTERM)?;
            house.stack.ended(replica).await;
            house.stack.start_process(replica).await?;
        }
    }
    Ok(())
}

/// Keeps one session busy, turn after turn, and answers how many there were; then looks for what is missing.
async fn work(
    client: PatientClient,
    agent: Value,
    begun: Arc<Barrier>,
    is_over: watch::Receiver<bool>,
) -> anyhow::Result<usize> {
    let body = json!({ "agent_id": agent });
    let opened = client.post("/api/sessions", &body, &key(), PATIENCE).await?;
    let session = opened.body["id"].as_str().context("no id")?.to_owned();
    let mut log = Vec::new();
    let mut turns = 0;
    while !*is_over.borrow() {
        turns += 1;
        let script = format!(
            "@say turn {turns}\n@stream {WORDS} 40\n@run echo {turns} >> ledger; sleep 1\n@say end {turns}"
        );
        let before = log.len();
        say(&client, &session, &script).await?;
        read_until_idle(&client, &session, &mut log).await?;
        let turn = log.get(before..).unwrap_or_default();
        is_complete(turn, turns)
            .with_context(|| format!("turn {turns} of {session}: {turn:#?}"))?;
        if turns == 1 {
            begun.wait().await;
        }
    }
    let before = log.len();
    say(&client, &session, "@run cat ledger").await?;
    read_until_idle(&client, &session, &mut log).await?;
    let results = log.get(before..).unwrap_or_default();
    let printed = text(of_type(results, "agent.tool_result").last().context("no result")?);
    let wanted: Vec<String> = (1..=turns).map(|turn| turn.to_string()).collect();
    let printed: Vec<&str> = printed.split_whitespace().collect();
    ensure!(printed == wanted, "each call ran once and in order: {printed:?}");
    Ok(turns)
}

/// Each text once and whole, one call with its result, one end.
fn is_complete(turn: &[Value], number: usize) -> anyhow::Result<()> {
    let ends: Vec<&Value> = of_type(turn, "session.status_idle").collect();
    ensure!(ends.len() == 1 && ends[0]["stop_reason"]["reason"] == "end_turn", "{ends:?}");
    let said: Vec<String> = of_type(turn, "agent.message").map(text).collect();
    let said = said.join("\n");
    let words: Vec<&str> = said.split_whitespace().collect();
    ensure!(words.len() == WORDS + 4, "said other than once: {said}");
    for word in 1..=WORDS {
        let prefix = format!("w{word}@");
        ensure!(words.iter().filter(|said| said.starts_with(&prefix)).count() == 1, "{said}");
    }
    ensure!(said.contains(&format!("end {number}")), "{said}");
    ensure!(of_type(turn, "agent.tool_use").count() == 1, "one call");
    ensure!(of_type(turn, "agent.tool_result").all(|result| result["is_error"] == false));
    ensure!(of_type(turn, "session.status_rescheduled").count() == 0, "it lost its sandbox");
    Ok(())
}

async fn say(client: &PatientClient, session: &str, script: &str) -> anyhow::Result<()> {
    let content = json!([{ "type": "text", "text": script }]);
    let body = json!({ "events": [{ "type": "user.message", "content": content }] });
    client.post(&format!("/v1/sessions/{session}/events"), &body, &key(), PATIENCE).await?;
    Ok(())
}

/// Reads on from the last event, across broken connections, to the next end of a turn. Numbers have neither gaps nor repeats.
async fn read_until_idle(
    client: &PatientClient,
    session: &str,
    log: &mut Vec<Value>,
) -> anyhow::Result<()> {
    let reading = async {
        loop {
            let last = i64::try_from(log.len())?;
            if let Ok(mut stream) = client.stream(session, last).await {
                while let Ok(Some(frame)) = stream.next().await {
                    let Some(number) = frame.id else { continue };
                    let expected = i64::try_from(log.len())? + 1;
                    ensure!(number == expected, "event {number} came where {expected} belongs");
                    log.push(frame.data);
                    if frame.name == "session.status_idle" {
                        return Ok(());
                    }
                }
            }
            sleep(Duration::from_millis(200)).await;
        }
    };
    let ended = timeout(PATIENCE, reading).await;
    ended.with_context(|| format!("session {session} did not get idle"))?
}

fn key() -> String {
    Uuid::new_v4().to_string()
}
