//! What is left in the outbox leaves it, once or twice but never not at all.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use futures::future::join;
use platform_messaging::encode;
use platform_messaging::proto::sandbox::{
    SandboxCommand, StartTurn, StopSandbox, sandbox_command::Action,
};
use platform_messaging::proto::session::session_command;
use platform_storage::outbox::OutboxMessage;
use uuid::Uuid;
use worker::jobs::{CameRound, JobError, sweep_outbox};

use crate::house::{House, at};

fn command(session: Uuid, action: Action) -> OutboxMessage {
    let id = Uuid::now_v7();
    let command = SandboxCommand {
        command_id: id.to_string(),
        session_id: session.to_string(),
        action: Some(action),
        ..SandboxCommand::default()
    };
    OutboxMessage {
        id,
        session_id: Some(session),
        exchange: "sandbox.commands".to_owned(),
        routing_key: "command".to_owned(),
        kind: "sandbox.command".to_owned(),
        mandatory: false,
        body: encode(&command),
        created_at: at(-60),
    }
}

fn stop(session: Uuid) -> OutboxMessage {
    command(session, Action::Stop(StopSandbox::default()))
}

impl House {
    async fn heard(&mut self, count: usize) -> Vec<Uuid> {
        let mut heard = Vec::new();
        while heard.len() < count {
            heard.push(self.told_sandbox_service().await.0);
        }
        heard
    }
}

#[tokio::test]
async fn what_was_left_behind_is_sent_and_what_is_young_waits() {
    let mut house = House::build().await;
    let old = stop(Uuid::now_v7());
    let young = OutboxMessage { created_at: at(-1), ..stop(Uuid::now_v7()) };
    house.put(&[young.clone(), old.clone()]).await;
    let worker = house.worker();
    sweep_outbox::job().come_round(&worker).await.unwrap();
    assert_eq!(house.heard(1).await, [old.id]);
    assert_eq!(house.count("outbox").await, 1);
    house.clock.forward(TimeDelta::seconds(2));
    sweep_outbox::job().come_round(&worker).await.unwrap();
    assert_eq!(house.heard(1).await, [young.id]);
    assert_eq!(house.count("outbox").await, 0);
}

#[tokio::test]
async fn two_workers_at_once_send_everything_once_and_each_session_in_its_order() {
    let mut house = House::build().await;
    let sessions: Vec<_> = (0..7).map(|_| Uuid::now_v7()).collect();
    let messages: Vec<_> = (0..500).map(|index| stop(sessions[index % sessions.len()])).collect();
    house.put(&messages).await;
    let (one, other) = (house.worker(), house.worker());
    let job = sweep_outbox::job();
    let (first, second) = join(job.come_round(&one), job.come_round(&other)).await;
    let rounds = [first.unwrap(), second.unwrap()];
    assert!(rounds.contains(&CameRound::Here) && rounds.contains(&CameRound::Elsewhere));
    let heard = house.heard(messages.len()).await;
    let mut per_session: BTreeMap<_, Vec<Uuid>> = BTreeMap::new();
    for id in heard {
        let message = messages.iter().find(|message| message.id == id).unwrap();
        per_session.entry(message.session_id).or_default().push(id);
    }
    for (session, ids) in per_session {
        let of_session = messages.iter().filter(|message| message.session_id == session);
        assert_eq!(ids, of_session.map(|message| message.id).collect::<Vec<_>>());
    }
    assert_eq!(house.count("outbox").await, 0);
    assert!(house.sandbox_commands.try_recv().is_err());
}

#[tokio::test]
async fn a_crash_between_publish_and_commit_sends_the_same_message_once_more() {
    let mut house = House::build().await;
    let message = stop(Uuid::now_v7());
    house.put(std::slice::from_ref(&message)).await;
    house
        .execute(
            "create function die() returns trigger language plpgsql as $$ begin raise 'crashed'; end $$;
             create trigger die before delete on outbox execute function die();",
        )
        .await;
    let worker = house.worker();
    let crashed = sweep_outbox::job().come_round(&worker).await;
    assert!(matches!(crashed, Err(JobError::Storage(_))), "{crashed:?}");
    assert_eq!(house.count("outbox").await, 1);
    house.execute("drop trigger die on outbox").await;
    sweep_outbox::job().come_round(&worker).await.unwrap();
    assert_eq!(house.heard(2).await, [message.id, message.id]);
    assert_eq!(house.count("outbox").await, 0);
}

#[tokio::test]
async fn a_message_that_no_broker_takes_holds_up_its_own_session_only() {
    let mut house = House::build().await;
    let (ill, well) = (Uuid::now_v7(), Uuid::now_v7());
    let poisoned = OutboxMessage { exchange: "nowhere".to_owned(), ..stop(ill) };
    let behind = stop(ill);
    let others = [stop(well), stop(well)];
    house.put(&[poisoned.clone(), others[0].clone(), behind.clone(), others[1].clone()]).await;
    let worker = house.worker();
    let job = sweep_outbox::job();
    job.come_round(&worker).await.unwrap();
    assert_eq!(house.heard(2).await, [others[0].id, others[1].id]);

    house.execute(&format!("delete from outbox where id = '{}'", poisoned.id)).await;
    house.clock.forward(TimeDelta::minutes(1));
    job.come_round(&worker).await.unwrap();
    assert_eq!(house.heard(1).await, [behind.id]);
}

#[tokio::test]
async fn a_command_that_finds_no_link_is_reported_to_session_service() {
    let mut house = House::build().await;
    let session = Uuid::now_v7();
    let start = command(session, Action::StartTurn(StartTurn::default()));
    let sandbox = Uuid::now_v7().to_string();
    let start = OutboxMessage {
        exchange: "sandbox.links".to_owned(),
        routing_key: sandbox,
        mandatory: true,
        ..start
    };
    house.put(std::slice::from_ref(&start)).await;
    sweep_outbox::job().come_round(&house.worker()).await.unwrap();
    let told = house.told_session_service().await;
    assert_eq!(told.session_id, session.to_string());
    let Some(session_command::Action::ReportUndeliverable(report)) = told.action else {
        panic!("{told:?}");
    };
    assert_eq!(report.command, start.body);
    assert_eq!(house.count("outbox").await, 0);
}
