//! What a thousand open event streams cost a gateway in memory: on as many sessions, and all on one.
//!
//! The sessions are rows that this group makes; their events take the way of a sandbox's journal. One reader of a hundred reads nothing.

mod readers;

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use local_stack::Part;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use platform_messaging::proto::session::session_command::Action;
use platform_messaging::proto::session::session_reply::Outcome;
use platform_messaging::proto::session::{
    AppendJournal, JournalEntry, SessionCommand, SessionReply,
};
use platform_messaging::topology::{self, kind};
use platform_messaging::{Broker, decode, encode};
use readers::Readers;
use secrecy::SecretString;
use serde_json::json;
use system_tests::{Client, House};
use tokio_postgres::Client as Postgres;
use uuid::Uuid;

use crate::figures::{Report, resident_kibibytes};
use crate::{milliseconds_since, postgres};

const STREAMS: usize = 1000;
const PER_SLOW_ONE: usize = 100;
/// A reader that reads nothing is sent more than its connection and its backlog hold.
const BATCHES_FOR_SLOW: u64 = 12;
const PATIENCE: Duration = Duration::from_mins(2);

/// A session that was made for this.
pub struct Target {
    team: String,
    pub session: String,
    sandbox: String,
}

/// What is written to each session: batches of events, and the bytes of each event.
#[derive(Clone, Copy)]
struct Flow {
    batches: u64,
    events: u64,
    bytes: usize,
}

pub async fn measure(house: &House, client: &Client, report: &mut Report) -> anyhow::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let database = postgres::connect(house).await?;
    let url = SecretString::from(house.stack.amqp_url().to_owned());
    let broker = Broker::connect(&url, "bench").await?;
    let targets = begin(&database, client).await?;
    let sessions = || targets.iter().map(|target| target.session.as_str());
    let gateway = gateway(house)?;
    // What is needed once, whatever the number of streams.
    Readers::open(client, sessions().take(10), 0).await?;

    let before = resident(gateway)?;
    let mut readers = Readers::open(client, sessions(), PER_SLOW_ONE).await?;
    let idle = resident(gateway)?;
    let flow = Flow { batches: 1, events: 20, bytes: 1000 };
    let slow_flow = Flow { batches: BATCHES_FOR_SLOW, events: 60, bytes: 16_000 };
    let begun = Instant::now();
    let peak = while_watching(gateway, async {
        write_all(
            &broker,
            &targets,
            |index| {
                if index % PER_SLOW_ONE == 0 { slow_flow } else { flow }
            },
        )
        .await?;
        readers.until(20).await
    })
    .await?;
    note(report, "on as many sessions", [before, idle, peak], milliseconds_since(begun));
    drop(readers);

    let shared = targets.get(1).context("no session")?;
    let before = resident(gateway)?;
    let same = std::iter::repeat_n(shared.session.as_str(), STREAMS);
    let mut readers = Readers::open(client, same, PER_SLOW_ONE).await?;
    let idle = resident(gateway)?;
    let begun = Instant::now();
    let peak = while_watching(gateway, async {
        // Its journal goes on where it was.
        for batch in 0..4 {
            let first = 21 + batch * 15;
            append(&broker, shared, first, Flow { batches: 1, events: 15, bytes: 16_000 }).await?;
        }
        readers.until(80).await
    })
    .await?;
    note(report, "on one session", [before, idle, peak], milliseconds_since(begun));
    drop(readers);
    database.batch_execute("delete from sessions where title = 'bench streams'").await?;
    Ok(())
}

fn note(report: &mut Report, what: &str, kibibytes: [u64; 3], milliseconds: f64) {
    let [before, idle, peak] = kibibytes;
    let each = |now: u64| now.saturating_sub(before) / STREAMS as u64;
    report.note(
        &format!("RSS of a gateway with {STREAMS} streams {what}"),
        &format!(
            "from {} MiB to {} MiB, {} KiB for each; at most {} MiB, {} KiB for each, while events flow for {:.1} s and one reader of {PER_SLOW_ONE} reads nothing",
            before / 1024,
            idle / 1024,
            each(idle),
            peak / 1024,
            each(peak),
            milliseconds / 1000.0
        ),
    );
}

fn gateway(house: &House) -> anyhow::Result<i32> {
    let processes = house.stack.processes().into_iter();
    let mut gateways = processes.filter(|(name, _, _)| name.part() == Part::ApiGateway);
    let (_, _, pid) = gateways.next().context("no gateway")?;
    pid.context("the gateway does not run")
}

fn resident(pid: i32) -> anyhow::Result<u64> {
    resident_kibibytes(pid).context("the gateway is gone")
}

/// Does the work; answers the most that the process held meanwhile, in KiB.
async fn while_watching(
    pid: i32,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<u64> {
    let mut most = 0;
    let watching = async {
        loop {
            most = most.max(resident_kibibytes(pid).unwrap_or(0));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        done = tokio::time::timeout(PATIENCE, work) => done.context("too slow")??,
        () = watching => {}
    }
    Ok(most)
}

/// Sessions with a sandbox that is none, copied from a real one.
async fn begin(database: &Postgres, client: &Client) -> anyhow::Result<Vec<Target>> {
    let agent = client.create_agent().await?;
    let model = postgres::uuid_of(&client.open_session(&agent).await?)?;
    let insert = format!(
        "insert into sessions (id, team_id, agent_id, agent_version, agent, environment_id, title, metadata, vault_ids,
                               status, epoch, sandbox_id, usage, created_at, updated_at)
         select gen_random_uuid(), team_id, agent_id, agent_version, agent, environment_id, 'bench streams', metadata, vault_ids,
                'running', 1, gen_random_uuid(), usage, now(), now()
         from sessions, generate_series(1, {STREAMS}) where id = '{model}'
         returning team_id::text, id::text, sandbox_id::text"
    );
    let rows = database.query(insert.as_str(), &[]).await?;
    let target = |row: tokio_postgres::Row| Target {
        team: row.get(0),
        session: row.get(1),
        sandbox: row.get(2),
    };
    Ok(rows.into_iter().map(target).collect())
}

async fn write_all(
    broker: &Broker,
    targets: &[Target],
    flow: impl Fn(usize) -> Flow,
) -> anyhow::Result<()> {
    let writes = targets.iter().enumerate().map(|(index, target)| {
        let flow = flow(index);
        async move { append(broker, target, 1, flow).await }
    });
    stream::iter(writes).buffer_unordered(32).try_collect().await
}

/// Writes events to a session, the first of which is entry `first` of its journal.
async fn append(broker: &Broker, target: &Target, first: u64, flow: Flow) -> anyhow::Result<()> {
    for batch in 0..flow.batches {
        let first = first + batch * flow.events;
        let entries: Vec<_> =
            (first..first + flow.events).map(|number| entry(number, flow)).collect();
        let id = Uuid::now_v7();
        let command = SessionCommand {
            command_id: id.to_string(),
            team_id: target.team.clone(),
            session_id: target.session.clone(),
            action: Some(Action::AppendJournal(AppendJournal {
                epoch: 1,
                sandbox_id: target.sandbox.clone(),
                entries,
            })),
        };
        let (route, body) = (topology::SESSION_COMMANDS, encode(&command));
        let answer = broker.request(route, kind::SESSION_COMMAND, id, body, PATIENCE).await?;
        let outcome = decode::<SessionReply>(&answer)?.outcome;
        ensure!(matches!(outcome, Some(Outcome::JournalAccepted(_))), "answered {outcome:?}");
    }
    Ok(())
}

fn entry(number: u64, flow: Flow) -> JournalEntry {
    let content = json!([{ "type": "text", "text": "x".repeat(flow.bytes) }]);
    let body = json!({ "type": "agent.message", "content": content });
    let entry = json!({ "entry": "event", "turn_id": null, "id": Uuid::now_v7(), "body": body });
    JournalEntry { number, body: entry.to_string().into_bytes() }
}
