//! Several replicas on one machine: they share the work, and one that ends, in order or not, is replaced by the others.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use platform_core::sandbox::SandboxState;
use platform_messaging::Delivered;
use platform_messaging::proto::link::frame::Body;
use platform_messaging::proto::link::{Entry, Journal};
use platform_messaging::proto::sandbox::StartTurn;
use platform_messaging::proto::sandbox::sandbox_command::Action as Wish;
use platform_messaging::proto::session::session_command::Action;
use platform_storage::{StorageError, sandbox as rows};
use uuid::Uuid;

use crate::agent::Agent;
use crate::house::{House, Limits, Process, host};
use crate::{ready, session};

fn turn(agent: &Agent) -> (String, Wish) {
    let turn_id = Uuid::now_v7().to_string();
    let turn = StartTurn {
        sandbox_id: agent.sandbox.uuid().to_string(),
        turn_id: turn_id.clone(),
        attempt: 1,
        prompt: b"[]".to_vec(),
        harness_silence_seconds: 60,
        answers: Vec::new(),
    };
    (turn_id, Wish::StartTurn(turn))
}

fn entry(number: u64) -> Body {
    Body::Journal(Journal { entries: vec![Entry { number, body: b"{}".to_vec() }] })
}

/// A sandbox, ready, whose link that process holds.
async fn linked_to(
    house: &mut House,
    process: &Process,
    session: platform_core::id::SessionId,
) -> Agent {
    let before = ready(house, session, 1).await;
    let socket = house.socket_of(process).await;
    let mut agent = Agent::at(&socket, &before).await;
    drop(before);
    agent.hello(1, true).await;
    agent.welcome().await;
    house.startup(session, "ready").await;
    agent
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_goes_on_in_another_replica_when_its_own_ends_in_order() {
    let mut house = House::build(Limits::default()).await;
    let process = house.start_process();
    let session = session();
    let mut agent = linked_to(&mut house, &process, session).await;
    let (turn_id, turn) = turn(&agent);
    assert_eq!(house.to_link(agent.sandbox, session, turn).await, Delivered::Routed);
    let Body::StartTurn(started) = agent.next().await else { panic!("not a turn") };
    assert_eq!(started.turn_id, turn_id);

    let asked = Instant::now();
    process.signal(Signal::SIGTERM);
    agent.until_closed().await;
    let mut again = Agent::redial(&house, &agent).await;
    again.hello_during(1, &turn_id).await;
    again.welcome().await;
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    house.startup(session, "ready").await;

    // The turn goes on, and the sandbox is told nothing twice.
    again.send(entry(1)).await;
    let Body::JournalAck(acknowledged) = again.next().await else { panic!("not acknowledged") };
    assert_eq!(acknowledged.through, 1);
    assert!(process.exit().await.success());
    // And it is watched there.
    again.kill_rooms(&house);
    drop(again);
    let Action::AppendJournal(_) = house.next_but_startup(session).await else {
        panic!("the sandbox was given up")
    };
    let Action::ReportLoss(loss) = house.next_but_startup(session).await else { panic!("no loss") };
    assert_eq!(loss.reason, "exited");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_on_its_way_to_a_killed_replica_is_asked_for_again() {
    let mut house = House::build(Limits::default()).await;
    let process = house.start_process();
    let session = session();
    let mut agent = linked_to(&mut house, &process, session).await;
    // Frozen, it takes nothing out of its queue.
    process.signal(Signal::SIGSTOP);
    let (_, turn) = turn(&agent);
    assert_eq!(house.to_link(agent.sandbox, session, turn).await, Delivered::Routed);
    process.signal(Signal::SIGKILL);
    process.exit().await;
    agent.until_closed().await;

    let mut again = Agent::redial(&house, &agent).await;
    again.hello(1, true).await;
    again.welcome().await;
    // This is what has session-service send the turn again, and now it arrives.
    house.startup(session, "ready").await;
    let (turn_id, turn) = self::turn(&again);
    assert_eq!(house.to_link(again.sandbox, session, turn).await, Delivered::Routed);
    let Body::StartTurn(started) = again.next().await else { panic!("not a turn") };
    assert_eq!(started.turn_id, turn_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sandboxes_of_a_killed_replica_are_watched_by_another_within_seconds() {
    let mut house = House::build(Limits::default()).await;
    let process = house.start_process();
    let session = session();
    let agent = linked_to(&mut house, &process, session).await;
    process.signal(Signal::SIGKILL);
    process.exit().await;
    let died = Instant::now();
    agent.kill_rooms(&house);
    let Action::ReportLoss(loss) = house.next_but_startup(session).await else { panic!("no loss") };
    assert_eq!(loss.reason, "exited");
    // Well before a link that does not come back would have been given up.
    assert!(died.elapsed() < Duration::from_secs(5), "{:?}", died.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_starts_is_not_lost_when_its_replica_ends() {
    let mut house = House::build(Limits::default()).await;
    let session = session();
    house.egress_is_away(true);
    house.provision(session, 1).await;
    house.startup(session, "claimed").await;
    house.end_service().await;
    house.egress_is_away(false);
    let _successor = house.start_beside();
    house.startup(session, "claimed").await;
    house.startup(session, "booting").await;
    assert!(house.others(session).is_empty(), "{:?}", house.others(session));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_together_start_no_more_than_fit() {
    let house = House::build(Limits { max_running: Some(3), ..Limits::default() }).await;
    let beside = house.start_beside();
    let sessions: Vec<_> = (0..8).map(|_| session()).collect();
    for session in &sessions {
        house.provision(*session, 1).await;
    }
    // Those that have no room hear their place from whoever looked.
    house.told_to_wait(&sessions, 5).await;
    for _ in 0..20 {
        house.service().wake_admission();
        beside.service.wake_admission();
        tokio::task::yield_now().await;
    }
    let living = rows::list_living(&mut *house.connection().await, &host()).await.unwrap();
    let running = living.iter().filter(|row| row.state != SandboxState::Queued).count();
    assert!(running <= 3, "{running}");
    beside.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_starts_while_another_replica_decides_what_does() {
    let mut house = House::build(Limits::default()).await;
    let session = session();
    let deciding = house.database().transaction(async |connection| {
        rows::lock_host(connection, &host()).await?;
        house.provision(session, 1).await;
        while !house.somebody_waits_for_a_lock().await {
            assert!(!house.phases(session).contains(&"claimed".to_owned()), "it did not wait");
        }
        Ok::<_, StorageError>(())
    });
    deciding.await.unwrap();
    house.startup(session, "booting").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_vanished_has_its_messages_asked_for_again() {
    let mut house = House::build(Limits::default()).await;
    let session = session();
    let mut agent = ready(&mut house, session, 1).await;
    house.cut_broker().await;
    house.startup(session, "ready").await;
    let (_, turn) = turn(&agent);
    assert_eq!(house.to_link_patiently(agent.sandbox, session, turn).await, Delivered::Routed);
    let Body::StartTurn(_) = agent.next().await else { panic!("not a turn") };
}
