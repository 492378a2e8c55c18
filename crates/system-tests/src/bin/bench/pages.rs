//! Pages of long lists at the HTTP API, against pages of short ones.

use std::time::Instant;

use anyhow::{Context, ensure};
use reqwest::Method;
use serde_json::Value;
use system_tests::{Client, House};
use tokio_postgres::Client as Postgres;

use crate::figures::{Report, Series};
use crate::{milliseconds_since, postgres};

const LONG: usize = 100_000;
const SHORT: usize = 100;
const ROUNDS: usize = 200;
/// How far into the long list the page in the middle lies, in pages of a thousand.
const DEPTH: usize = 50;

/// A team with as many sessions, of which one has as many events.
struct Archive {
    client: Client,
    session: String,
}

pub async fn measure(house: &House, _: &Client, report: &mut Report) -> anyhow::Result<()> {
    let database = postgres::connect(house).await?;
    let long = fill(house, &database, LONG).await?;
    let short = fill(house, &database, SHORT).await?;
    // What autovacuum would do after a while.
    database.batch_execute("vacuum analyze sessions").await?;
    database.batch_execute("vacuum analyze events").await?;
    let sessions = |_: &Archive| "/v1/sessions?".to_owned();
    let events = |archive: &Archive| format!("/v1/sessions/{}/events?", archive.session);
    compare(report, "first page of 100,000 sessions", &long, &short, sessions, 0).await?;
    compare(report, "page in the middle of 100,000 sessions", &long, &short, sessions, DEPTH)
        .await?;
    compare(report, "first page of 100,000 events", &long, &short, events, 0).await?;
    compare(report, "page in the middle of 100,000 events", &long, &short, events, DEPTH).await?;
    let newest = |archive: &Archive| format!("/v1/sessions/{}/events?order=desc&", archive.session);
    compare(report, "last page of 100,000 events", &long, &short, newest, 0).await?;
    Ok(())
}

/// The page at `depth` of the long list, in turns with the first page of the short one.
async fn compare(
    report: &mut Report,
    what: &str,
    long: &Archive,
    short: &Archive,
    path: impl Fn(&Archive) -> String,
    depth: usize,
) -> anyhow::Result<()> {
    let wanted = walk(&long.client, &path(long), depth).await?;
    let beside = path(short);
    let (mut ours, mut others, mut bytes) = (Series::default(), Series::default(), 0);
    for _ in 0..ROUNDS {
        let (milliseconds, size) = fetch(&long.client, &wanted).await?;
        ours.add(milliseconds);
        bytes = bytes.max(size);
        others.add(fetch(&short.client, &beside).await?.0);
    }
    for quantile in [0.5, 0.99] {
        report.compare(what, quantile, &ours, ("first page of 100", &others));
    }
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let kilobytes = bytes as f64 / 1000.0;
    report.note(what, &format!("{kilobytes:.1} KB"));
    Ok(())
}

/// Where the page lies that is so many pages of a thousand away from the beginning.
async fn walk(client: &Client, path: &str, depth: usize) -> anyhow::Result<String> {
    let mut wanted = path.to_owned();
    for _ in 0..depth {
        let page = client.get(&format!("{wanted}&limit=1000")).await?;
        let next = page["next_page"].as_str().context("the list is too short")?;
        wanted = format!("{path}page={next}");
    }
    Ok(wanted)
}

async fn fetch(client: &Client, path: &str) -> anyhow::Result<(f64, usize)> {
    let begun = Instant::now();
    let response = client.send(Method::GET, path, None).await?.error_for_status()?;
    let body = response.bytes().await?;
    let milliseconds = milliseconds_since(begun);
    let page: Value = serde_json::from_slice(&body)?;
    ensure!(page["data"].as_array().is_some_and(|data| data.len() == 20), "no full page: {page}");
    Ok((milliseconds, body.len()))
}

async fn fill(house: &House, database: &Postgres, count: usize) -> anyhow::Result<Archive> {
    let client = house.team().await?;
    let agent = client.create_agent().await?;
    let session = client.open_session(&agent).await?;
    client.until_ready(&session).await?;
    client.say(&session, "@say done").await?;
    client.until_idle(&session, 0, 1).await?;
    let id = postgres::uuid_of(&session)?;
    database
        .batch_execute(&format!(
            "insert into sessions (id, team_id, agent_id, agent_version, agent, environment_id, title, metadata, vault_ids, status,
                                   epoch, startup, last_event, usage, created_at, updated_at, idle_since)
             select gen_random_uuid(), team_id, agent_id, agent_version, agent, environment_id, 'Number ' || n, metadata, vault_ids,
                    'idle', 2, startup, 7, usage, created_at - n * interval '1 s', created_at, created_at
             from sessions, generate_series(1, {count}) n where id = '{id}';
             insert into events (session_id, number, team_id, id, type, turn_id, body, created_at)
             select session_id, last.number + n, team_id, gen_random_uuid(), type, turn_id,
                    json_build_object('content', json_build_array(json_build_object('type', 'text', 'text', repeat('word ', 40)))), created_at
             from events, generate_series(1, {count}) n,
                  (select max(number) as number from events where session_id = '{id}') last
             where session_id = '{id}' and type = 'agent.message';
             update sessions set last_event = (select max(number) from events where session_id = '{id}') where id = '{id}'",
        ))
        .await?;
    Ok(Archive { client, session })
}
