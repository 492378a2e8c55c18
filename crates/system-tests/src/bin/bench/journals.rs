//! The journals of two hundred sessions at once, and messages to them, taken into their logs, against bare `INSERT … COMMIT` at the same concurrency.
//!
//! The sessions are rows that this group makes; the commands are those that sandbox-service sends, on the same queue.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures::future::try_join_all;
use platform_messaging::proto::session::session_command::Action;
use platform_messaging::proto::session::session_reply::Outcome;
use platform_messaging::proto::session::{
    AppendJournal, JournalEntry, SessionCommand, SessionReply,
};
use platform_messaging::topology::{self, kind};
use platform_messaging::{Broker, decode, encode};
use secrecy::SecretString;
use serde_json::json;
use system_tests::{Client, House};
use tokio::sync::Mutex;
use tokio_postgres::Client as Postgres;
use uuid::Uuid;

use crate::figures::{Report, Series};
use crate::{milliseconds_since, postgres};

const SESSIONS: usize = 200;
const ENTRIES: u64 = 20;
/// Fewer: those that wait already are looked at with each further one.
const MESSAGES: usize = 5;
/// As many connections as session-service has by default.
const CONNECTIONS: usize = 8;
const PATIENCE: Duration = Duration::from_mins(1);

struct Journal {
    team: String,
    session: String,
    sandbox: String,
    turn: String,
}

/// What came of one way to do it.
#[derive(Default)]
struct Run {
    latencies: Series,
    per_second: f64,
}

pub async fn measure(house: &House, client: &Client, report: &mut Report) -> anyhow::Result<()> {
    let database = postgres::connect(house).await?;
    let url = SecretString::from(house.stack.amqp_url().to_owned());
    let broker = Broker::connect(&url, "bench").await?;
    let journals = begin(&database, client).await?;
    let ours = append_all(&broker, &journals).await?;
    let posted = post_all(client, &journals).await?;
    let refused = refuse_all(&broker, journals.len()).await?;
    let bare = insert_all(house, &database).await?;
    end(&database).await?;
    let what = "a journal entry of each of 200 sessions at once";
    for quantile in [0.5, 0.99] {
        let peer = format!("INSERT … COMMIT, 200 at once over {CONNECTIONS} connections");
        report.compare(what, quantile, &ours.latencies, (&peer, &bare.latencies));
    }
    for quantile in [0.5, 0.99] {
        let peer = format!("INSERT … COMMIT, 200 at once over {CONNECTIONS} connections");
        let what = "POST …/events to each of 200 sessions at once";
        report.compare(what, quantile, &posted.latencies, (&peer, &bare.latencies));
    }
    let peer = ("a command refused before the database", &refused.latencies);
    report.compare(what, 0.5, &ours.latencies, peer);
    let rates = [
        ("entries", &ours),
        ("messages", &posted),
        ("bare inserts", &bare),
        ("refused commands", &refused),
    ];
    for (name, run) in rates {
        let value = format!("{:.0} per second", run.per_second);
        report.note(&format!("{name}, 200 at once"), &value);
    }
    Ok(())
}

/// Sessions in the middle of a turn, copied from a real one.
async fn begin(database: &Postgres, client: &Client) -> anyhow::Result<Vec<Journal>> {
    let agent = client.create_agent().await?;
    let model = postgres::uuid_of(&client.open_session(&agent).await?)?;
    let insert = format!(
        "with made as (
             insert into sessions (id, team_id, agent_id, agent_version, agent, environment_id, title, metadata, vault_ids,
                                   status, epoch, sandbox_id, usage, created_at, updated_at)
             select gen_random_uuid(), team_id, agent_id, agent_version, agent, environment_id, 'bench', metadata, vault_ids,
                    'running', 1, gen_random_uuid(), usage, now(), now()
             from sessions, generate_series(1, {SESSIONS}) where id = '{model}'
             returning id, team_id, sandbox_id
         ), turned as (
             insert into turns (id, team_id, session_id, ordinal, event_number, state, epoch, attempts, created_at, started_at)
             select gen_random_uuid(), team_id, id, 1, 1, 'running', 1, 1, now(), now() from made
             returning id, session_id
         )
         select made.team_id::text, made.id::text, made.sandbox_id::text, turned.id::text
         from made join turned on turned.session_id = made.id"
    );
    let rows = database.query(insert.as_str(), &[]).await?;
    let journal = |row: tokio_postgres::Row| Journal {
        team: row.get(0),
        session: row.get(1),
        sandbox: row.get(2),
        turn: row.get(3),
    };
    Ok(rows.into_iter().map(journal).collect())
}

async fn end(database: &Postgres) -> anyhow::Result<()> {
    let remove = "delete from sessions where title = 'bench'; drop table if exists bench_entries";
    Ok(database.batch_execute(remove).await?)
}

async fn append_all(broker: &Broker, journals: &[Journal]) -> anyhow::Result<Run> {
    let begun = Instant::now();
    let each = journals.iter().map(|journal| async move {
        let mut took = Vec::new();
        for number in 1..=ENTRIES {
            let sent = Instant::now();
            let outcome = send(broker, append(journal, number)).await?;
            let is_taken = matches!(&outcome, Outcome::JournalAccepted(accepted) if accepted.through == number);
            ensure!(is_taken, "entry {number} was answered {outcome:?}");
            took.push(milliseconds_since(sent));
        }
        anyhow::Ok(took)
    });
    Ok(Run::of(try_join_all(each).await?, begun))
}

/// Messages that wait behind the turn under way.
async fn post_all(client: &Client, journals: &[Journal]) -> anyhow::Result<Run> {
    let begun = Instant::now();
    let each = journals.iter().map(|journal| async move {
        let mut took = Vec::new();
        for _ in 0..MESSAGES {
            let sent = Instant::now();
            client.say(&journal.session, "@say nothing").await?;
            took.push(milliseconds_since(sent));
        }
        anyhow::Ok(took)
    });
    Ok(Run::of(try_join_all(each).await?, begun))
}

/// The way over the broker and back, with nothing done there.
async fn refuse_all(broker: &Broker, at_once: usize) -> anyhow::Result<Run> {
    let begun = Instant::now();
    let each = (0..at_once).map(|_| async {
        let mut took = Vec::new();
        for _ in 0..ENTRIES {
            let sent = Instant::now();
            let outcome = send(broker, SessionCommand::default()).await?;
            ensure!(matches!(outcome, Outcome::Refused(_)), "answered {outcome:?}");
            took.push(milliseconds_since(sent));
        }
        anyhow::Ok(took)
    });
    Ok(Run::of(try_join_all(each).await?, begun))
}

async fn insert_all(house: &House, database: &Postgres) -> anyhow::Result<Run> {
    database
        .batch_execute("create table bench_entries (id bigserial primary key, body json not null)")
        .await?;
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let connection = postgres::connect(house).await?;
        let insert = "insert into bench_entries (body) values ($1::text::json)";
        let insert = connection.prepare(insert).await?;
        connections.push(Mutex::new((connection, insert)));
    }
    let body = message().to_string();
    let begun = Instant::now();
    let each = (0..SESSIONS).map(|index| {
        let (connections, body) = (&connections, &body);
        async move {
            let place = connections.get(index % CONNECTIONS).context("no connection")?;
            let mut took = Vec::new();
            for _ in 0..ENTRIES {
                let sent = Instant::now();
                let connection = place.lock().await;
                connection.0.execute(&connection.1, &[body]).await?;
                drop(connection);
                took.push(milliseconds_since(sent));
            }
            anyhow::Ok(took)
        }
    });
    Ok(Run::of(try_join_all(each).await?, begun))
}

impl Run {
    fn of(took: Vec<Vec<f64>>, begun: Instant) -> Self {
        let seconds = begun.elapsed().as_secs_f64();
        let latencies: Series = took.into_iter().flatten().collect();
        #[expect(clippy::cast_precision_loss, reason = "some thousands")]
        let per_second = latencies.len() as f64 / seconds;
        Self { latencies, per_second }
    }
}

async fn send(broker: &Broker, mut command: SessionCommand) -> anyhow::Result<Outcome> {
    let id = Uuid::now_v7();
    command.command_id = id.to_string();
    let (route, body) = (topology::SESSION_COMMANDS, encode(&command));
    let answer = broker.request(route, kind::SESSION_COMMAND, id, body, PATIENCE).await?;
    decode::<SessionReply>(&answer)?.outcome.context("an empty answer")
}

fn append(journal: &Journal, number: u64) -> SessionCommand {
    let entry = json!({
        "entry": "event", "turn_id": journal.turn, "id": Uuid::now_v7(), "body": message(),
    });
    let entries = vec![JournalEntry { number, body: entry.to_string().into_bytes() }];
    SessionCommand {
        command_id: String::new(),
        team_id: journal.team.clone(),
        session_id: journal.session.clone(),
        action: Some(Action::AppendJournal(AppendJournal {
            epoch: 1,
            sandbox_id: journal.sandbox.clone(),
            entries,
        })),
    }
}

fn message() -> serde_json::Value {
    let text = "What an agent says in the middle of its work is about as long as this sentence. ";
    json!({ "type": "agent.message", "content": [{ "type": "text", "text": text.repeat(3) }] })
}
