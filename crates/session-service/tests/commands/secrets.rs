//! Secrets that must not get into a log, and planted values that must not turn up in one.

use std::process::Stdio;
use std::time::Duration;

use platform_core::egress::AlarmKind;
use platform_core::id::{SecretId, SessionId};
use platform_core::journal::Entry;
use platform_core::session::{ContentBlock, EventBody};
use platform_core::variable::{Variable, Variables};
use platform_messaging::proto::sandbox::sandbox_command;
use platform_messaging::proto::session::session_command::Action;
use platform_messaging::proto::session::session_reply::Outcome;
use platform_messaging::proto::session::{DeleteSession, ForkSession, ReportLoss};
use platform_runtime::clock::SystemIds;
use platform_sealing::honey_values;
use platform_storage::secret::{self, StoredFingerprint, StoredSecret};
use platform_storage::session;
use serde_json::json;
use uuid::Uuid;

use crate::house::{House, journal, keys, saying};

const VALUE: &str = "s3cret-value/with+odd\"signs";

async fn keep_secret(house: &House, owner: Uuid) -> SecretId {
    let print = keys().current().fingerprint(VALUE.as_bytes()).unwrap();
    let fingerprint = StoredFingerprint {
        length: i32::try_from(print.length).unwrap(),
        head: print.head,
        digest: print.digest,
    };
    let id = SecretId::mint(&SystemIds);
    let stored = StoredSecret {
        id,
        sealed_as: id,
        team_id: house.team,
        owner_id: owner,
        name: "DEPLOY_TOKEN".to_owned(),
        sealed: vec![1],
        key_id: print.key.to_string(),
        fingerprint: Some(fingerprint),
        created_at: house.context.clock.now(),
    };
    let mut connection = house.context.database.connection().await.unwrap();
    secret::insert(&mut connection, &[stored]).await.unwrap();
    id
}

async fn everything_stored(house: &House) -> String {
    let client = house.server.connect().await.unwrap();
    let mut text = String::new();
    for table in ["events", "turns", "sessions", "outbox", "command_answers"] {
        let query = format!("select coalesce(string_agg(t::text, ' '), '') from {table} t");
        let row = client.query_one(&query, &[]).await.unwrap();
        text.push_str(row.get(0));
    }
    text
}

#[tokio::test]
async fn a_known_secret_is_taken_out_of_whatever_is_written() {
    let mut house = House::build().await;
    keep_secret(&house, Uuid::now_v7()).await;
    let mut at_work = house.at_work().await;
    house.ask(at_work.session, saying(&format!("use {VALUE}, please"))).await;
    let serde_json::Value::Object(input) = json!({ VALUE: ["x", VALUE] }) else { unreachable!() };
    let name = "bash".to_owned();
    let tool = EventBody::AgentToolUse { name, input, evaluated_permission: None };
    house.act(&mut at_work, tool).await;
    let loss = ReportLoss {
        epoch: at_work.epoch,
        sandbox_id: at_work.sandbox.clone(),
        reason: "exited".to_owned(),
        message: format!("its last line: {VALUE}"),
        may_retry: false,
    };
    house.ask(at_work.session, Action::ReportLoss(loss)).await;

    let log = house.log(at_work.session).await;
    let shown = serde_json::to_string(&log).unwrap();
    assert!(shown.contains("use [redacted: DEPLOY_TOKEN], please"), "{shown}");
    assert!(shown.contains("its last line: [redacted: DEPLOY_TOKEN]"), "{shown}");
    let stored = everything_stored(&house).await;
    for form in [VALUE, "s3cret-value"] {
        assert!(!stored.contains(form), "{stored}");
    }
}

#[tokio::test]
async fn a_planted_value_in_an_event_is_an_alarm_and_ends_the_sandbox_once() {
    let mut house = House::build().await;
    let mut at_work = house.at_work().await;
    let honey = honey_values(&keys(), at_work.session).remove(0).value;
    let content = vec![ContentBlock::text(format!("[backup]\nid = {honey}"))];
    house.act(&mut at_work, EventBody::AgentMessage { content: content.clone() }).await;
    let log = house.log(at_work.session).await;
    let alarms: Vec<_> = log
        .iter()
        .filter_map(|event| {
            let EventBody::SessionAlarm { kind, sandbox_ended, .. } = &event.body else {
                return None;
            };
            Some((*kind, *sandbox_ended))
        })
        .collect();
    assert_eq!(alarms, [(AlarmKind::HoneyValueSeen, true)]);
    assert_eq!(house.types(at_work.session).await.last(), Some(&"session.status_idle"));
    let stopped = house.told().await;
    assert!(matches!(stopped.action, Some(sandbox_command::Action::Stop(_))));

    // What the ended sandbox says again changes nothing.
    let id = platform_core::id::EventId::mint(&SystemIds);
    let body = EventBody::AgentMessage { content };
    let entry = Entry::Event { turn_id: Some(at_work.turn), id, body };
    house.ask(at_work.session, journal(at_work.epoch, &[(at_work.journal, entry)])).await;
    assert_eq!(house.log(at_work.session).await.len(), log.len());
}

#[tokio::test]
async fn the_secrets_of_a_deleted_session_are_gone() {
    let house = House::build().await;
    let session = house.opened().await;
    let own = keep_secret(&house, session.uuid()).await;
    let other = keep_secret(&house, Uuid::now_v7()).await;
    house.ask(session, Action::Delete(DeleteSession {})).await;
    let mut connection = house.context.database.connection().await.unwrap();
    let left = secret::find_many(&mut connection, house.team, &[own, other]).await.unwrap();
    assert_eq!(left.iter().map(|secret| secret.id).collect::<Vec<_>>(), [other]);
}

#[tokio::test]
async fn a_planted_value_in_a_sandbox_s_last_lines_is_an_alarm_and_nothing_is_started_again() {
    let mut house = House::build().await;
    let at_work = house.at_work().await;
    let honey = honey_values(&keys(), at_work.session).remove(2).value;
    let loss = ReportLoss {
        epoch: at_work.epoch,
        sandbox_id: at_work.sandbox.clone(),
        reason: "exited".to_owned(),
        message: format!("it ended. Its last lines:\ntoken is {honey}"),
        may_retry: true,
    };
    house.ask(at_work.session, Action::ReportLoss(loss.clone())).await;
    house.ask(at_work.session, Action::ReportLoss(loss)).await;
    let types = house.types(at_work.session).await;
    let count = |wanted| types.iter().filter(|it| **it == wanted).count();
    assert_eq!((count("session.alarm"), count("session.status_rescheduled")), (1, 0), "{types:?}");
    assert_eq!(types.last(), Some(&"session.status_idle"));
    let log = serde_json::to_string(&house.log(at_work.session).await).unwrap();
    assert!(!log.contains(&honey), "{log}");
}

#[tokio::test]
async fn a_fork_has_its_own_copies_of_its_session_s_secrets() {
    let house = House::build().await;
    let source = SessionId::mint(&SystemIds);
    let secret_id = keep_secret(&house, source.uuid()).await;
    let secret = Variable::Secret { secret_id, allowed_hosts: Vec::new() };
    let variables: Variables = [("DEPLOY_TOKEN".to_owned(), secret)].into();
    let Action::Open(mut open) = house.opening(None) else { unreachable!() };
    open.environment_variables = serde_json::to_vec(&variables).unwrap();
    house.ask(source, Action::Open(open)).await;
    let forks = [SessionId::mint(&SystemIds), SessionId::mint(&SystemIds)];
    for (fork, from) in forks.into_iter().zip([source, forks[0]]) {
        let forking = ForkSession {
            source_session_id: from.uuid().to_string(),
            metadata: b"{}".to_vec(),
            ..ForkSession::default()
        };
        let outcome = house.ask(fork, Action::Fork(forking)).await;
        assert!(matches!(outcome, Outcome::Opened(opened) if opened.created));
    }
    for gone in [source, forks[0]] {
        house.ask(gone, Action::Delete(DeleteSession::default())).await;
    }
    let mut connection = house.context.database.connection().await.unwrap();
    let fork = session::find(&mut connection, house.team, forks[1]).await.unwrap().unwrap();
    let Variable::Secret { secret_id: copy, .. } = fork.environment_variables["DEPLOY_TOKEN"]
    else {
        panic!("{:?}", fork.environment_variables)
    };
    let stored = secret::find_many(&mut connection, house.team, &[copy, secret_id]).await.unwrap();
    let [stored] = &stored[..] else { panic!("the copy alone is left") };
    assert_eq!((stored.id, stored.sealed_as, stored.owner_id), (copy, secret_id, fork.id.uuid()));
    assert_eq!(stored.sealed, [1]);
}

#[tokio::test]
async fn a_service_with_another_key_than_the_database_s_does_not_start() {
    let house = House::build().await;
    keep_secret(&house, Uuid::now_v7()).await;
    let start = |key: &str| {
        tokio::process::Command::new(env!("CARGO_BIN_EXE_session-service"))
            .env_clear()
            .env("DATABASE_URL", house.server.url())
            .env("AMQP_URL", house.broker_url())
            .env("ENCRYPTION_KEY", key)
            .env("PORT", "0")
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    };
    let refused = start("another key than that one").wait_with_output();
    let refused = tokio::time::timeout(Duration::from_secs(30), refused).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&refused.stdout);
    assert!(!refused.status.success(), "{said}");
    let sentence = "ENCRYPTION_KEY is not the key of this database: 1 secrets lie under key ";
    assert!(said.contains(sentence), "{said}");
    assert!(!said.contains("another key than that one"), "{said}");
}
