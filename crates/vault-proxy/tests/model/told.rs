//! What is told to the other services: spending and alarms to session-service, decisions to the database and to whoever looks.

use std::sync::Arc;

use chrono::DateTime;
use platform_core::budget::NanoDollars;
use platform_core::clock::IdSource;
use platform_core::egress::{Alarm, AlarmKind, EgressDecision, Verdict};
use platform_core::id::{EgressDecisionId, SandboxId};
use platform_core::session::ModelUsage;
use platform_messaging::proto::event::EgressDecided;
use platform_messaging::proto::session::session_command::Action;
use platform_messaging::proto::session::{Done, SessionCommand, SessionReply, session_reply};
use platform_messaging::topology::{PREVIEWS, Queue};
use platform_messaging::{Broker, Incoming, Verdict as Taken, decode, encode};
use platform_runtime::clock::SystemIds;
use platform_storage::Database;
use secrecy::SecretString;
use test_support::{TestBroker, TestDatabase};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use vault_proxy::model::ledger::{Books, Ledger, Spent};
use vault_proxy::rules::Witness;
use vault_proxy::secrets::witness::Record;

use crate::house::IDENTITY;

struct Office {
    database: Database,
    broker: Broker,
    commands: mpsc::UnboundedReceiver<SessionCommand>,
    _servers: (TestDatabase, TestBroker),
}

/// A session-service that takes everything.
async fn office() -> Office {
    let servers = (TestDatabase::create().await.unwrap(), TestBroker::create().await.unwrap());
    let database = Database::connect(servers.0.url(), 2).unwrap();
    let url = SecretString::from(servers.1.url().to_owned());
    let broker = Broker::connect(&url, "test").await.unwrap();
    broker.declare_topology().await.unwrap();
    let (told, commands) = mpsc::unbounded_channel();
    let consuming = broker.clone();
    tokio::spawn(async move {
        let handler = move |message: Incoming| {
            told.send(decode::<SessionCommand>(&message.body).unwrap()).unwrap();
            let outcome = Some(session_reply::Outcome::Done(Done {}));
            async move { Taken::Answer(encode(&SessionReply { outcome })) }
        };
        let end = CancellationToken::new();
        consuming.consume(Queue::SESSION_COMMANDS, 1, 1, end, handler).await;
    });
    Office { database, broker, commands, _servers: servers }
}

#[tokio::test]
async fn spending_is_told_to_session_service_and_counted_when_that_returns() {
    let mut office = office().await;
    let books = Books::new(office.database.clone(), office.broker.clone(), Arc::new(SystemIds));
    let usage = ModelUsage {
        input_tokens: 1,
        output_tokens: 2,
        cache_creation_input_tokens: 3,
        cache_read_input_tokens: 4,
    };
    books.record(IDENTITY, Spent { usage, cost: NanoDollars(5) }).await;
    let command = office.commands.try_recv().unwrap();
    assert_eq!(command.session_id, IDENTITY.session_id.uuid().to_string());
    let Some(Action::RecordUsage(record)) = command.action else { panic!("{command:?}") };
    assert_eq!(record.cost_nano_usd, 5);
    assert_eq!(serde_json::from_slice::<ModelUsage>(&record.usage).unwrap(), usage);
}

#[tokio::test]
async fn decisions_are_shown_live_and_alarms_told() {
    let mut office = office().await;
    let watching = office.broker.own_queue("watcher");
    let (shown, mut decisions) = mpsc::unbounded_channel();
    let end = CancellationToken::new();
    tokio::spawn({
        let (watching, end) = (watching.clone(), end.clone());
        async move {
            let handler = move |message: Incoming| {
                shown.send(decode::<EgressDecided>(&message.body).unwrap()).unwrap();
                async { Taken::Done }
            };
            watching.consume(100, 1, end, handler).await;
        }
    });
    // Its queue comes to be when it begins to be consumed.
    let session = IDENTITY.session_id.uuid().to_string();
    while watching.bind(PREVIEWS, &session).await.is_err() {
        tokio::task::yield_now().await;
    }
    let record = Record::new(office.database.clone(), office.broker.clone(), Arc::new(SystemIds));
    let keeping = tokio::spawn(record.clone().keep(end.clone()));
    tokio::spawn(record.clone().tell_alarms(end.clone()));

    let decision = EgressDecision {
        id: EgressDecisionId::from_uuid(SystemIds.uuid()),
        team_id: IDENTITY.team_id,
        session_id: IDENTITY.session_id,
        sandbox_id: SandboxId::from_uuid(Uuid::from_u128(9)),
        at: DateTime::UNIX_EPOCH,
        verdict: Verdict::Allowed,
        rule: "networking: unrestricted".to_owned(),
        code: None,
        host: "example.com".to_owned(),
        port: 443,
        method: None,
        path: None,
        status: None,
        bytes_out: 1,
        bytes_in: 2,
    };
    // The queue of whoever watches may come to be a moment later.
    let decided = loop {
        record.decided(decision.clone());
        let waited = tokio::time::timeout(std::time::Duration::from_millis(300), decisions.recv());
        if let Ok(Some(decided)) = waited.await {
            break decided;
        }
    };
    let read: EgressDecision = serde_json::from_slice(&decided.decision).unwrap();
    assert_eq!(read, decision);

    let alarm = Alarm {
        kind: AlarmKind::HoneyValueSeen,
        message: "seen".to_owned(),
        host: Some("example.com".to_owned()),
    };
    record.alarm(&IDENTITY, decision.sandbox_id, alarm.clone());
    let command = office.commands.recv().await.unwrap();
    let Some(Action::RaiseAlarm(raised)) = command.action else { panic!("{command:?}") };
    assert_eq!(serde_json::from_slice::<Alarm>(&raised.alarm).unwrap(), alarm);
    end.cancel();
    keeping.await.unwrap();
}
