//! From the message to a session whose sandbox was given back until the first word of the answer, against the harness resumed by hand.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use platform_messaging::proto::session::{ReleaseSandbox, SessionCommand, session_command::Action};
use platform_messaging::topology::{self, kind};
use platform_messaging::{Broker, encode};
use secrecy::SecretString;
use serde_json::json;
use system_tests::{Client, House};
use tokio_postgres::Client as Postgres;
use uuid::Uuid;

use crate::by_hand::Place;
use crate::figures::{Report, Series};
use crate::starts::environment;
use crate::{milliseconds_since, postgres};

const ROUNDS: usize = 6;
const PATIENCE: Duration = Duration::from_secs(30);

pub async fn measure(house: &House, client: &Client, report: &mut Report) -> anyhow::Result<()> {
    let database = postgres::connect(house).await?;
    let url = SecretString::from(house.stack.amqp_url().to_owned());
    let broker = Broker::connect(&url, "bench").await?;
    let agent = client.create_agent().await?;
    let place = Place::new(house)?;
    let (_, by_hand) = place.begin().await?;
    for (name, pool) in [("cold", 0), ("warm", 1)] {
        let environment = environment(client, name, pool).await?;
        let body = json!({ "agent_id": agent, "environment_id": environment });
        let opened = client.post("/api/sessions", &body).await?;
        let session = opened["id"].as_str().context("no id")?;
        let mut known = talk(client, session, 0).await?.0;
        let (mut ours, mut loads) = (Series::default(), Series::default());
        for _ in 0..ROUNDS {
            release(&database, &broker, session).await?;
            until_warm(&database, &environment, pool).await?;
            let (events, milliseconds) = talk(client, session, known).await?;
            known = events;
            let shown = client.get(&format!("/v1/sessions/{session}")).await?;
            ensure!(shown["startup"]["spawn_mode"] == name, "{}", shown["startup"]);
            ours.add(milliseconds);
            loads.add(place.load(&by_hand).await?);
        }
        let what = format!("message → first word, sandbox given back before, {name}");
        let peer = "bwrap + opencode acp + session/load by hand";
        report.compare(&what, 0.5, &ours, (peer, &loads));
        client.post(&format!("/v1/sessions/{session}/archive"), &json!({})).await?;
    }
    Ok(())
}

/// Waits until the environment's pool is full.
async fn until_warm(database: &Postgres, environment: &str, pool: u32) -> anyhow::Result<()> {
    let id = postgres::uuid_of(environment)?.to_string();
    let query = "select count(*) from sandboxes where state = 'warm' and environment_id::text = $1";
    let deadline = Instant::now() + PATIENCE;
    while database.query_one(query, &[&id]).await?.get::<_, i64>(0) < i64::from(pool) {
        ensure!(Instant::now() < deadline, "the pool was not filled");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Says something; answers how long the log is then, and the milliseconds until the first word of the answer.
async fn talk(client: &Client, session: &str, known: usize) -> anyhow::Result<(usize, f64)> {
    let mut stream = client.stream(session, None).await?;
    let begun = Instant::now();
    client.say(session, "@say hello").await?;
    let milliseconds = loop {
        let frame = stream.next().await?.context("the stream ended")?;
        if matches!(frame.name.as_str(), "event_delta" | "agent.message") {
            break milliseconds_since(begun);
        }
    };
    let log = client.until_idle(session, known, 1).await?;
    Ok((known + log.len(), milliseconds))
}

/// Has the sandbox given back as the worker does when it has been idle for long, and waits until it is gone.
async fn release(database: &Postgres, broker: &Broker, session: &str) -> anyhow::Result<()> {
    let id = postgres::uuid_of(session)?;
    let query = "select team_id::text, sandbox_id::text, epoch from sessions where id::text = $1";
    let row = database.query_one(query, &[&id.to_string()]).await?;
    let sandbox: String = row.get::<_, Option<String>>(1).context("no sandbox")?;
    let epoch = u64::try_from(row.get::<_, i64>(2))?;
    let release = ReleaseSandbox { sandbox_id: sandbox.clone(), epoch, reason: "idle".to_owned() };
    let command_id = Uuid::now_v7();
    let command = SessionCommand {
        command_id: command_id.to_string(),
        team_id: row.get(0),
        session_id: id.to_string(),
        action: Some(Action::ReleaseSandbox(release)),
    };
    let (route, body) = (topology::SESSION_COMMANDS, encode(&command));
    broker.request(route, kind::SESSION_COMMAND, command_id, body, PATIENCE).await?;
    let deadline = Instant::now() + PATIENCE;
    let query = "select state from sandboxes where id::text = $1";
    while database.query_one(query, &[&sandbox]).await?.get::<_, &str>(0) != "gone" {
        if Instant::now() > deadline {
            bail!("the sandbox was not given back");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
