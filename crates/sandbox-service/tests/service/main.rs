//! The service with the real database, broker and bubblewrap. The test plays sandbox-agent on the link, session-service and vault-proxy.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agent;
mod disk;
mod grafts;
mod house;
mod leftovers;
mod locks;
mod replicas;
mod snapshots;
mod warm;

use std::time::Duration;

use platform_core::id::SessionId;
use platform_messaging::proto::event;
use platform_messaging::proto::link::frame::Body;
use platform_messaging::proto::link::{Entry, Journal, Preview};
use platform_messaging::proto::sandbox::sandbox_command::Action as Wish;
use platform_messaging::proto::sandbox::{StartTurn, StopSandbox};
use platform_messaging::proto::session::session_command::Action;
use platform_messaging::topology::previews_of;
use platform_messaging::{Delivered, decode};
use platform_storage::sandbox as rows;
use uuid::Uuid;

use agent::Agent;
use house::{House, Limits};

fn session() -> SessionId {
    SessionId::from_uuid(Uuid::now_v7())
}

fn stop(reason: &str) -> Wish {
    Wish::Stop(StopSandbox { reason: reason.to_owned(), ..StopSandbox::default() })
}

/// Brings a session's sandbox up to `ready`.
async fn ready(house: &mut House, session: SessionId, epoch: u64) -> Agent {
    house.provision(session, epoch).await;
    let mut agent = Agent::dial(house, session, epoch).await;
    agent.say_hello().await;
    let hydrate = agent.hydrated().await;
    assert_eq!((hydrate.epoch, hydrate.session_id), (epoch, session.uuid().to_string()));
    agent.startup("preparing_workspace").await;
    agent.startup("ready").await;
    house.startup(session, "ready").await;
    agent
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_comes_up_phase_by_phase_and_takes_a_turn() {
    let mut house = House::build(Limits::default()).await;
    let session = session();
    let mut agent = ready(&mut house, session, 1).await;
    assert_eq!(
        house.phases(session),
        ["queued", "claimed", "booting", "linked", "preparing_workspace", "ready"]
    );

    let turn = StartTurn {
        sandbox_id: agent.sandbox.uuid().to_string(),
        turn_id: Uuid::now_v7().to_string(),
        attempt: 1,
        prompt: b"[]".to_vec(),
        harness_silence_seconds: 60,
        answers: Vec::new(),
    };
    let turn_id = turn.turn_id.clone();
    let sent = house.to_link(agent.sandbox, session, Wish::StartTurn(turn)).await;
    assert_eq!(sent, Delivered::Routed);
    let Body::StartTurn(started) = agent.next().await else { panic!("not a turn") };
    assert_eq!(started.turn_id, turn_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_is_acknowledged_once_it_was_committed() {
    let mut house = House::build(Limits::default()).await;
    let session = session();
    let mut agent = ready(&mut house, session, 1).await;
    let entries = vec![Entry { number: 1, body: b"{}".to_vec() }];
    agent.send(Body::Journal(Journal { entries })).await;
    let Body::JournalAck(acknowledged) = agent.next().await else { panic!("no answer") };
    assert_eq!(acknowledged.through, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn previews_are_passed_on_to_whoever_listens() {
    let mut house = House::build(Limits::default()).await;
    let session = session();
    let agent = ready(&mut house, session, 4).await;
    let mut heard = house.listen(previews_of(session)).await;
    let preview = Preview {
        event_id: "event".to_owned(),
        event_type: "agent.message".to_owned(),
        text: Some("word".to_owned()),
        offset: 0,
    };
    agent.send(Body::Preview(preview)).await;
    let heard: event::Preview = decode(&heard.recv().await.unwrap()).unwrap();
    assert_eq!((heard.epoch, heard.text.as_deref()), (4, Some("word")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_journal_ends_its_sandbox() {
    let mut house = House::build(Limits::default()).await;
    let session = session();
    let mut agent = ready(&mut house, session, 1).await;
    house.refuse_journals("conflict", "stale_epoch");
    let entries = vec![Entry { number: 1, body: b"{}".to_vec() }];
    agent.send(Body::Journal(Journal { entries })).await;
    let Body::Stop(stop) = agent.next().await else { panic!("not stopped") };
    assert_eq!(stop.reason, "stale_epoch");
    house.gone(agent.sandbox, "superseded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_deleted_session() {
    let mut house = House::build(Limits::default()).await;
    let session = session();
    let agent = ready(&mut house, session, 1).await;
    let delete = StopSandbox {
        reason: "deleted".to_owned(),
        remove_workspace: true,
        ..StopSandbox::default()
    };
    house.send(session, 1, Wish::Stop(delete)).await;
    house.gone(agent.sandbox, "deleted").await;
    house.egress_closed(agent.sandbox).await;
    house.workspace_gone(session).await;
    assert!(!house.layout().sandbox(agent.sandbox).root().exists());
    let turn = Wish::StartTurn(StartTurn::default());
    let nobody = house.to_link(agent.sandbox, session, turn).await;
    assert_eq!(nobody, Delivered::Unroutable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_dies_is_reported_after_its_last_words() {
    let mut house = House::build(Limits::default()).await;
    let session = session();
    let agent = ready(&mut house, session, 1).await;
    let sandbox = agent.sandbox;
    let entries = vec![Entry { number: 1, body: b"{}".to_vec() }];
    agent.send(Body::Journal(Journal { entries })).await;
    agent.kill_rooms(&house);
    drop(agent);

    let Action::AppendJournal(_) = house.next_but_startup(session).await else {
        panic!("the last words were lost")
    };
    let Action::ReportLoss(loss) = house.next_but_startup(session).await else {
        panic!("the loss was not reported")
    };
    assert_eq!((loss.epoch, loss.reason.as_str(), loss.may_retry), (1, "exited", true));
    house.gone(sandbox, "exited").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_does_not_come_back_is_a_loss() {
    let mut house = House::build(Limits::default()).await;
    let session = session();
    let agent = ready(&mut house, session, 1).await;
    let pids = agent.pids(&house);
    drop(agent);
    let Action::ReportLoss(loss) = house.next_but_startup(session).await else { panic!("no loss") };
    assert_eq!(loss.reason, "link_lost");
    assert!(
        pids.iter().all(|pid| sandbox_service::backend::local::process::began_of(*pid).is_none())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_epoch_begins_when_the_one_before_is_gone() {
    let mut house = House::build(Limits::default()).await;
    let session = session();
    let first = ready(&mut house, session, 1).await;
    let pids = first.pids(&house);
    let second = ready(&mut house, session, 2).await;
    assert!(
        pids.iter().all(|pid| sandbox_service::backend::local::process::began_of(*pid).is_none())
    );
    assert_ne!(first.sandbox, second.sandbox);

    let mut late = Agent::again(&house, &first).await;
    late.hello(1, true).await;
    let Body::Welcome(welcome) = late.next_raw().await else { panic!("no answer") };
    assert!(welcome.superseded);
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_again_for_a_sandbox_repeats_that_it_is_ready() {
    let mut house = House::build(Limits::default()).await;
    let session = session();
    let agent = ready(&mut house, session, 1).await;
    house.provision(session, 1).await;
    house.startup(session, "ready").await;
    let living = rows::list_of_session(&mut *house.connection().await, house.team, session).await;
    let living: Vec<_> = living.unwrap().into_iter().map(|row| row.id).collect();
    assert_eq!(living, [agent.sandbox]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_token_is_not_let_in() {
    let mut house = House::build(Limits::default()).await;
    let session = session();
    let agent = ready(&mut house, session, 1).await;
    let mut forged = Agent::again(&house, &agent).await;
    forged.token = "0".repeat(64);
    forged.hello(1, true).await;
    assert!(forged.is_closed().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_do_not_fit_wait_and_one_that_rests_is_asked_for_its_room() {
    let mut house = House::build(Limits { max_running: Some(1), ..Limits::default() }).await;
    let (first, second) = (session(), session());
    let agent = ready(&mut house, first, 1).await;
    house.rest(first, agent.sandbox, Duration::from_mins(1)).await;
    house.provision(second, 1).await;
    let Action::ReleaseSandbox(release) = house.next_but_startup(first).await else {
        panic!("not asked")
    };
    assert_eq!(release.reason, "capacity");
    house.send(first, 1, stop("released")).await;
    house.startup(second, "booting").await;
    let waited = house.details(second);
    assert!(waited.iter().any(|detail| detail.ends_with(": 0 before it")), "{waited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_sandbox_is_claimed_by_the_next_session() {
    let mut house = House::build(Limits { warm_pool_size: 1, ..Limits::default() }).await;
    let _first = ready(&mut house, session(), 1).await;
    let mut warm = Agent::dial_warm(&house).await;
    warm.say_hello().await;
    let Body::Prepare(prepare) = warm.next().await else { panic!("not prepared") };
    assert!(!prepare.manifest.is_empty());
    warm.startup("ready").await;
    house.warm(warm.sandbox).await;

    let second = session();
    house.provision(second, 1).await;
    let hydrate = warm.hydrated().await;
    assert_eq!(hydrate.session_id, second.uuid().to_string());
    // What it still says of the time before does not count.
    warm.startup("ready").await;
    warm.startup("preparing_workspace").await;
    warm.startup("ready").await;
    house.startup(second, "ready").await;
    assert_eq!(house.phases(second), ["claimed", "preparing_workspace", "ready"]);
    assert!(house.layout().workspace(second).root.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn sandboxes_outlive_the_service_and_link_to_its_successor() {
    let mut house = House::build(Limits::default()).await;
    let session = session();
    let agent = ready(&mut house, session, 1).await;
    let pids = agent.pids(&house);
    house.replace_service().await;
    let mut again = Agent::again(&house, &agent).await;
    again.hello(1, true).await;
    let Body::Welcome(welcome) = again.next_raw().await else { panic!("no answer") };
    assert!(!welcome.superseded);
    house.startup(session, "ready").await;
    assert_eq!(again.pids(&house), pids);

    again.kill_rooms(&house);
    drop(again);
    let Action::ReportLoss(loss) = house.next_but_startup(session).await else { panic!("no loss") };
    assert_eq!(loss.reason, "exited");
}
