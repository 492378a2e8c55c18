//! Files kept at the ends of turns, and sessions that go on from there.

use std::fs;
use std::time::Duration;

use platform_core::egress::{Alarm, AlarmKind};
use platform_core::id::{SessionId, TurnId};
use platform_core::session::ForkedFrom;
use platform_core::turn::StopReason;
use platform_messaging::proto::link::frame::Body;
use platform_messaging::proto::link::{Entry, Journal};
use platform_messaging::proto::sandbox::StopSandbox;
use platform_messaging::proto::sandbox::sandbox_command::Action as Wish;
use platform_messaging::proto::session::session_command::Action;
use platform_storage::snapshot;
use uuid::Uuid;

use crate::agent::Agent;
use crate::house::{HONEY, House, Limits};
use crate::{ready, session};

fn turn_id() -> TurnId {
    TurnId::from_uuid(Uuid::now_v7())
}

/// A session with a sandbox, and with a row that snapshots can belong to.
async fn stored(house: &mut House) -> (SessionId, Agent) {
    let session = session();
    let agent = ready(house, session, 1).await;
    house.rest(session, agent.sandbox, Duration::ZERO).await;
    (session, agent)
}

/// The sandbox tells of a message and of the end of its turn, at once.
async fn tell_end(agent: &Agent, turn: TurnId) {
    let (stop_reason, message) = (StopReason::EndTurn, None);
    let ended = platform_core::journal::Entry::TurnEnded { turn_id: turn, stop_reason, message };
    let entries = vec![
        Entry { number: 1, body: b"{}".to_vec() },
        Entry { number: 2, body: serde_json::to_vec(&ended).unwrap() },
    ];
    agent.send(Body::Journal(Journal { entries })).await;
}

async fn appended(house: &House, session: SessionId) -> Vec<u64> {
    let next = house.next_but_startup(session).await;
    let Action::AppendJournal(batch) = next else { panic!("{next:?} instead of a journal") };
    batch.entries.iter().map(|entry| entry.number).collect()
}

async fn is_kept(house: &House, session: SessionId, turn: TurnId) -> bool {
    let mut connection = house.connection().await;
    snapshot::exists(&mut connection, house.team, session, turn).await.unwrap()
}

/// Ends a turn with a file in the workspace that changes afterwards.
async fn end_turn(house: &House, session: SessionId, agent: &mut Agent) -> ForkedFrom {
    let turn = turn_id();
    let file = house.layout().workspace(session).workspace.join("file");
    fs::write(&file, "then").unwrap();
    tell_end(agent, turn).await;
    let Body::JournalAck(_) = agent.next().await else { panic!("no answer") };
    assert!(is_kept(house, session, turn).await);
    fs::write(file, "now").unwrap();
    ForkedFrom { session_id: session, at_event: 1, turn_id: Some(turn) }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_kept_before_the_end_of_their_turn_is_told_and_nothing_else_waits_for_it() {
    let mut house = House::build(Limits::default()).await;
    let (session, mut agent) = stored(&mut house).await;
    let turn = turn_id();
    tell_end(&agent, turn).await;
    assert_eq!(appended(&house, session).await, [1]);
    assert_eq!(appended(&house, session).await, [2]);
    assert!(is_kept(&house, session, turn).await);
    let Body::JournalAck(acknowledged) = agent.next().await else { panic!("no answer") };
    assert_eq!(acknowledged.through, 2, "a batch is acknowledged as a whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planted_value_in_a_file_of_the_workspace_is_an_alarm_at_the_end_of_the_turn() {
    let mut house = House::build(Limits::default()).await;
    let (session, agent) = stored(&mut house).await;
    let file = house.layout().workspace(session).workspace.join("notes");
    fs::write(file, format!("found: {HONEY}")).unwrap();
    tell_end(&agent, turn_id()).await;
    assert_eq!(appended(&house, session).await, [1]);
    let next = house.next_but_startup(session).await;
    let Action::RaiseAlarm(raised) = next else { panic!("{next:?} instead of an alarm") };
    let alarm: Alarm = serde_json::from_slice(&raised.alarm).unwrap();
    assert_eq!(alarm.kind, AlarmKind::HoneyValueSeen);
    assert!(alarm.message.contains("/workspace/notes"), "{}", alarm.message);
    assert!(!alarm.message.contains(HONEY), "{}", alarm.message);
    assert_eq!(appended(&house, session).await, [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_kept_do_not_hold_up_the_end_of_their_turn() {
    let mut house = House::build(Limits::default()).await;
    let (session, mut agent) = stored(&mut house).await;
    let (turn, files) = (turn_id(), house.layout().workspace(session));
    fs::create_dir_all(files.workspace.join("d/".repeat(200))).unwrap();
    tell_end(&agent, turn).await;
    let Body::JournalAck(acknowledged) = agent.next().await else { panic!("no answer") };
    assert_eq!(acknowledged.through, 2);
    assert!(!is_kept(&house, session, turn).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_with_the_files_of_an_earlier_turn_of_another_one() {
    let mut house = House::build(Limits { warm_pool_size: 1, ..Limits::default() }).await;
    let (source, mut agent) = stored(&mut house).await;
    let from = end_turn(&house, source, &mut agent).await;
    let mut warm = Agent::dial_warm(&house).await;
    warm.say_hello().await;
    warm.next().await;
    warm.startup("ready").await;
    house.warm(warm.sandbox).await;

    let fork = session();
    house.provision_fork(fork, 1, Some(from)).await;
    let mut agent = Agent::dial(&mut house, fork, 1).await;
    assert_ne!(agent.sandbox, warm.sandbox, "files are restored by a start");
    agent.say_hello().await;
    agent.hydrated().await;
    let file = house.layout().workspace(fork).workspace.join("file");
    assert_eq!(fs::read_to_string(&file).unwrap(), "then");

    // Of a fork that was replaced, the files are its own by then.
    fs::write(&file, "changed").unwrap();
    house.provision_fork(fork, 2, Some(from)).await;
    warm.hydrated().await;
    assert_eq!(fs::read_to_string(&file).unwrap(), "changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_cannot_go_on_from_one_that_was_deleted_meanwhile() {
    let mut house = House::build(Limits::default()).await;
    let (source, mut agent) = stored(&mut house).await;
    let from = end_turn(&house, source, &mut agent).await;
    let delete = StopSandbox {
        reason: "deleted".to_owned(),
        remove_workspace: true,
        ..StopSandbox::default()
    };
    house.send(source, 1, Wish::Stop(delete)).await;
    house.workspace_gone(source).await;

    let fork = session();
    house.provision_fork(fork, 1, Some(from)).await;
    let next = house.next_but_startup(fork).await;
    let Action::ReportLoss(loss) = next else { panic!("{next:?} instead of a loss") };
    assert_eq!((loss.reason.as_str(), loss.may_retry), ("snapshot_missing", false));
    assert!(loss.message.contains("are not kept any more"), "{}", loss.message);
    assert!(!house.layout().workspace(fork).root.exists());
}
