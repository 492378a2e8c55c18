//! What thousands of sessions at rest cost one that is at work: its appends and its words, beside ten of them and beside ten thousand.
//!
//! The sessions at rest are rows that this group makes, with log, turn and sandbox as if they had given their sandboxes back.

use std::time::Instant;

use serde_json::json;
use system_tests::{Client, House};
use tokio_postgres::Client as Postgres;
use uuid::Uuid;

use crate::figures::{Report, Series};
use crate::{milliseconds_since, postgres, tokens};

const FEW: usize = 10;
const MANY: usize = 10_000;
/// Each long enough for every job of the worker that comes round within a minute to do so among the many a few times.
const ROUNDS: usize = 4;
const APPENDS: usize = 150;
const STREAMS: usize = 3;

#[derive(Default)]
struct Run {
    appends: Series,
    words: Series,
}

pub async fn measure(house: &House, client: &Client, report: &mut Report) -> anyhow::Result<()> {
    let database = postgres::connect(house).await?;
    let agent = client.create_agent().await?;
    let model = model(client, &agent).await?;
    let speaker = client.open_session(&agent).await?;
    client.until_ready(&speaker).await?;
    let (mut few, mut many) = (Run::default(), Run::default());
    for _ in 0..ROUNDS {
        for (count, run) in [(FEW, &mut few), (MANY, &mut many)] {
            fill(&database, model, count).await?;
            work(client, &agent, &speaker, run).await?;
            empty(&database).await?;
        }
    }
    client.post(&format!("/v1/sessions/{speaker}/archive"), &json!({})).await?;
    for quantile in [0.5, 0.99] {
        let what = "durable append by POST …/events, beside 10,000 sessions at rest";
        report.compare(what, quantile, &many.appends, ("beside 10", &few.appends));
    }
    for quantile in [0.5, 0.99] {
        let what = "model's word → client, beside 10,000 sessions at rest";
        report.compare(what, quantile, &many.words, ("beside 10", &few.words));
    }
    Ok(())
}

/// A session that has said something and then rests; all others are its copies.
async fn model(client: &Client, agent: &str) -> anyhow::Result<Uuid> {
    let session = client.open_session(agent).await?;
    client.until_ready(&session).await?;
    client.say(&session, "@say done").await?;
    client.until_idle(&session, 0, 1).await?;
    postgres::uuid_of(&session)
}

async fn work(client: &Client, agent: &str, speaker: &str, run: &mut Run) -> anyhow::Result<()> {
    // Of its own each time: messages wait behind a turn that does not end, and many that wait cost something too.
    let session = client.open_session(agent).await?;
    client.until_ready(&session).await?;
    client.say(&session, "@hang").await?;
    for _ in 0..APPENDS {
        let begun = Instant::now();
        client.say(&session, "@say nothing").await?;
        run.appends.add(milliseconds_since(begun));
    }
    client.post(&format!("/v1/sessions/{session}/archive"), &json!({})).await?;
    for _ in 0..STREAMS {
        tokens::through_the_platform(client, speaker, &mut run.words).await?;
    }
    Ok(())
}

async fn fill(database: &Postgres, model: Uuid, count: usize) -> anyhow::Result<()> {
    database
        .batch_execute(&format!(
            "with made as (
                 insert into sessions (id, team_id, agent_id, agent_version, agent, environment_id, title, metadata, vault_ids,
                                       status, epoch, startup, last_event, usage, created_at, updated_at, idle_since)
                 select gen_random_uuid(), team_id, agent_id, agent_version, agent, environment_id, 'at rest', metadata, vault_ids,
                        'idle', 2, null, last_event, usage, created_at, updated_at - n * interval '1 s', idle_since - n * interval '1 s'
                 from sessions, generate_series(1, {count}) n where id = '{model}'
                 returning id
             ), logged as (
                 insert into events (session_id, number, team_id, id, type, turn_id, body, created_at)
                 select made.id, number, team_id, gen_random_uuid(), type, turn_id, body, created_at
                 from made, events where session_id = '{model}'
             ), turned as (
                 insert into turns (id, team_id, session_id, ordinal, event_number, state, epoch, attempts, stop_reason, created_at,
                                    started_at, ended_at)
                 select gen_random_uuid(), team_id, made.id, ordinal, event_number, state, epoch, attempts, stop_reason, created_at,
                        started_at, ended_at
                 from made, turns where session_id = '{model}'
             )
             insert into sandboxes (id, team_id, session_id, agent_id, epoch, environment_id, harness, backend, host, state, spec, detail,
                                    exit_reason, created_at, ready_at, gone_at)
             select gen_random_uuid(), team_id, made.id, agent_id, 1, environment_id, harness, backend, host, 'gone', spec, '{{}}',
                    'at rest', created_at, ready_at, now()
             from made, sandboxes where session_id = '{model}'",
        ))
        .await?;
    settle(database).await
}

async fn empty(database: &Postgres) -> anyhow::Result<()> {
    let remove = "delete from sessions where title = 'at rest'; delete from sandboxes where exit_reason = 'at rest'";
    database.batch_execute(remove).await?;
    settle(database).await
}

/// What autovacuum would do after a while.
async fn settle(database: &Postgres) -> anyhow::Result<()> {
    for table in ["sessions", "events", "turns", "sandboxes"] {
        database.batch_execute(&format!("vacuum analyze {table}")).await?;
    }
    Ok(())
}
