//! How long a reader sees nothing new after something was killed in the middle of a turn.

mod reader;

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use local_stack::{Part, ProcessName, Signal};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde_json::{Value, json};
use system_tests::{Client, House};
use tokio::time::sleep;

use crate::by_hand::Place;
use crate::figures::{Report, Series};
use crate::postgres;
use reader::Reader;

const ROUNDS: usize = 3;
/// Eight seconds of text, which are cut short once it flows again.
const TURN: &str = "@stream 400 20";
/// How much of it has been read when the blow falls.
const FIRST_WORDS: usize = 40;
/// How long after the blow somebody looks at least, and how long text has to have flowed again.
const LOOKED: Duration = Duration::from_millis(1_500);

pub async fn measure(house: &mut House, report: &mut Report) -> anyhow::Result<()> {
    let key = new_key(house).await?;
    let client = Client::new(house.stack.url(), &key)?;
    let agent = client.create_agent().await?;
    let session = client.open_session(&agent).await?;
    client.until_ready(&session).await?;
    let mut undisturbed = Series::default();
    for _ in 0..ROUNDS {
        undisturbed.add(longest_silence(house, &key, &session, async |_| Ok(())).await?);
    }
    let peer = ("the same turn undisturbed", &undisturbed);
    for part in Part::SERVICES {
        eprintln!("  {part} …");
        let mut silences = Series::default();
        for _ in 0..ROUNDS {
            let killed = ProcessName::from(part);
            silences.add(after_restart(house, &key, &session, killed).await?);
        }
        let what = format!("longest silence, {part} killed and started again");
        for quantile in [0.5, 1.0] {
            report.compare(&what, quantile, &silences, peer);
        }
    }
    sandbox(house, &key, &session, report).await?;
    with_two(house, &key, &session, report, peer).await
}

/// Two of every service: what is killed stays away until the turn is over.
async fn with_two(
    house: &mut House,
    key: &str,
    session: &str,
    report: &mut Report,
    peer: (&str, &Series),
) -> anyhow::Result<()> {
    for part in Part::SERVICES {
        eprintln!("  one of two {part} …");
        let second = ProcessName::replica(part, 2)?;
        house.stack.start_process(second).await?;
        let mut silences = Series::default();
        // The first has the session's link, socket or stream in its hands; the one that takes over is the next to go.
        for round in 0..ROUNDS {
            let killed = if round % 2 == 0 { ProcessName::from(part) } else { second };
            let blow = async |house: &House| Ok(house.stack.kill(killed, Signal::SIGKILL)?);
            silences.add(longest_silence(house, key, session, blow).await?);
            house.stack.start_process(killed).await?;
        }
        house.stack.stop_process(second).await?;
        for quantile in [0.5, 1.0] {
            let what = format!("longest silence, one of two {part} killed");
            report.compare(&what, quantile, &silences, peer);
        }
    }
    Ok(())
}

async fn sandbox(
    house: &House,
    key: &str,
    session: &str,
    report: &mut Report,
) -> anyhow::Result<()> {
    eprintln!("  sandbox …");
    let place = Place::new(house)?;
    let (_, by_hand) = place.begin().await?;
    let (mut silences, mut loads) = (Series::default(), Series::default());
    for _ in 0..ROUNDS {
        let blow = async |house: &House| kill_sandbox(house, session).await;
        silences.add(longest_silence(house, key, session, blow).await?);
        loads.add(place.load(&by_hand).await?);
    }
    let peer = ("bwrap + opencode acp + session/load by hand", &loads);
    report.compare("longest silence, the session's sandbox killed", 0.5, &silences, peer);
    Ok(())
}

async fn after_restart(
    house: &House,
    key: &str,
    session: &str,
    killed: ProcessName,
) -> anyhow::Result<f64> {
    let blow = async |house: &House| {
        house.stack.kill(killed, Signal::SIGKILL)?;
        house.stack.ended(killed).await;
        Ok(house.stack.launch(killed).await?)
    };
    longest_silence(house, key, session, blow).await
}

/// Runs a turn, strikes in the middle of it, and answers the milliseconds of the longest time after that in which nothing new came, until
/// text flows again.
async fn longest_silence(
    house: &House,
    key: &str,
    session: &str,
    blow: impl AsyncFnOnce(&House) -> anyhow::Result<()>,
) -> anyhow::Result<f64> {
    let clients = house.stack.urls().into_iter().map(|url| Client::new(url, key));
    let clients = clients.collect::<anyhow::Result<Vec<_>>>()?;
    let mut reader = Reader::begin(clients, session).await?;
    say(house, key, session).await?;
    for _ in 0..FIRST_WORDS {
        ensure!(!reader.next_progress().await?.is_end, "the turn ended too early");
    }
    let struck = Instant::now();
    blow(house).await?;
    let (mut before, mut longest, mut flows_since) = (struck, Duration::ZERO, struck);
    loop {
        let progress = reader.next_progress().await?;
        let silence = progress.at.saturating_duration_since(before);
        if silence > longest {
            (longest, flows_since) = (silence, progress.at);
        }
        before = before.max(progress.at);
        if progress.is_end {
            break;
        }
        if struck.elapsed() > LOOKED && flows_since.elapsed() > LOOKED {
            interrupt(house, key, session).await?;
            reader.until_end().await?;
            break;
        }
    }
    Ok(longest.as_secs_f64() * 1000.0)
}

async fn say(house: &House, key: &str, session: &str) -> anyhow::Result<()> {
    let content = json!([{ "type": "text", "text": TURN }]);
    send(house, key, session, json!({ "type": "user.message", "content": content })).await
}

async fn interrupt(house: &House, key: &str, session: &str) -> anyhow::Result<()> {
    send(house, key, session, json!({ "type": "user.interrupt" })).await
}

/// A service that was just started may still refuse.
async fn send(house: &House, key: &str, session: &str, event: Value) -> anyhow::Result<()> {
    let id = uuid::Uuid::new_v4().to_string();
    let (path, body) = (format!("/v1/sessions/{session}/events"), json!({ "events": [event] }));
    let mut last = None;
    for _ in 0..100 {
        for url in house.stack.urls() {
            let client = Client::new(url, key)?.with_header("Idempotency-Key", &id)?;
            match client.post(&path, &body).await {
                Ok(_) => return Ok(()),
                Err(failure) => last = Some(failure),
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
    Err(last.context("nothing was tried")?)
}

async fn kill_sandbox(house: &House, session: &str) -> anyhow::Result<()> {
    let database = postgres::connect(house).await?;
    let query = "select sandbox_id::text from sessions where id::text = $1";
    let id = postgres::uuid_of(session)?.to_string();
    let sandbox: Option<String> = database.query_one(query, &[&id]).await?.get(0);
    let sandbox = postgres::uuid_of(&sandbox.context("no sandbox")?)?;
    let folders = house.stack.data_directory().path().join("sandboxes/sandboxes");
    for file in ["init.pid", "supervise.pid"] {
        let file = folders.join(sandbox.simple().to_string()).join(file);
        let pid = std::fs::read_to_string(&file)
            .with_context(|| format!("no {}", file.display()))?
            .trim()
            .parse()?;
        kill(Pid::from_raw(pid), Signal::SIGKILL)?;
    }
    Ok(())
}

async fn new_key(house: &House) -> anyhow::Result<String> {
    let administrator = house.administrator()?;
    let team = administrator.post("/v1/teams", &json!({ "name": "recovery" })).await?;
    let body = json!({ "team_id": team["id"], "name": "bench" });
    let key = administrator.post("/v1/api_keys", &body).await?;
    Ok(key["key"].as_str().context("no key")?.to_owned())
}
