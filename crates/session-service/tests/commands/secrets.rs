//! Secrets that must not get into a log, and planted values that must not turn up in one.

use platform_core::egress::AlarmKind;
use platform_core::id::SecretId;
use platform_core::journal::Entry;
use platform_core::session::{ContentBlock, EventBody};
use platform_messaging::proto::sandbox::sandbox_command;
use platform_messaging::proto::session::session_command::Action;
use platform_messaging::proto::session::{DeleteSession, ReportLoss};
use platform_runtime::clock::SystemIds;
use platform_sealing::honey_values;
use platform_storage::secret::{self, StoredFingerprint, StoredSecret};
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
