//! What every event missed is found by the sweep; what is somebody else's is let be.

use std::fs;
use std::path::Path;
use std::time::Duration;

use platform_core::environment::SandboxSpec;
use platform_core::harness::HarnessName;
use platform_core::id::{AgentId, SandboxId};
use platform_core::sandbox::{Backend, Epoch, Sandbox, SandboxState};
use platform_messaging::Verdict;
use platform_messaging::proto::sandbox::StopSandbox;
use platform_messaging::proto::sandbox::sandbox_command::Action as Wish;
use platform_messaging::proto::session::session_command::Action;
use platform_storage::sandbox as rows;
use sandbox_service::backend::local::process::began_of;
use sandbox_service::leftovers::{Marks, sweep};
use serde_json::json;
use uuid::Uuid;

use crate::house::{House, Limits, PLANTED, host};
use crate::{ready, session, stop};

const LONG: Duration = Duration::from_hours(1);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_a_sandbox_that_is_gone_is_ended_after_the_grace() {
    let mut house = House::build(Limits::default()).await;
    let agent = ready(&mut house, session(), 1).await;
    let (pids, folder) = (agent.pids(&house), house.layout().sandbox(agent.sandbox));
    let mut connection = house.connection().await;
    rows::mark_gone(&mut connection, agent.sandbox, "exited", house.service().now()).await.unwrap();

    let mut marks = Marks::default();
    sweep(house.service(), &mut marks, LONG).await.unwrap();
    assert!(folder.root().exists());
    sweep(house.service(), &mut marks, Duration::ZERO).await.unwrap();
    assert!(!folder.root().exists());
    assert_eq!(pids.map(began_of), [None, None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_deleted_session_are_removed_and_those_of_others_stay() {
    let mut house = House::build(Limits::default()).await;
    let (deleted, kept, at_work) = (session(), session(), session());
    for session in [deleted, kept] {
        let agent = ready(&mut house, session, 1).await;
        house.send(session, 1, stop("released")).await;
        house.gone(agent.sandbox, "released").await;
    }
    house.forget_session(deleted).await;
    let _agent = ready(&mut house, at_work, 1).await;
    house.forget_session(at_work).await;
    let stranger = session();
    fs::create_dir(house.layout().workspace(stranger).root).unwrap();

    let has_files = |session| house.layout().workspace(session).root.exists();
    let mut marks = Marks::default();
    sweep(house.service(), &mut marks, LONG).await.unwrap();
    assert!(has_files(deleted));
    // A database that cannot be asked is no reason to remove anything.
    house.execute("alter table sandboxes rename to sandboxes_away").await;
    sweep(house.service(), &mut marks, Duration::ZERO).await.unwrap_err();
    assert!(has_files(deleted));
    house.execute("alter table sandboxes_away rename to sandboxes").await;
    sweep(house.service(), &mut marks, Duration::ZERO).await.unwrap();
    assert!(!has_files(deleted));
    assert_eq!([kept, at_work, stranger].map(has_files), [true; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_without_processes_is_reported_lost() {
    let house = House::build(Limits::default()).await;
    let session = session();
    let row = Sandbox {
        id: SandboxId::from_uuid(Uuid::now_v7()),
        team_id: Some(house.team),
        session_id: Some(session),
        agent_id: Some(AgentId::from_uuid(Uuid::now_v7())),
        epoch: Some(Epoch(3)),
        environment_id: house.environment,
        harness: HarnessName::parse("fake").unwrap(),
        backend: Backend::Local,
        host: host(),
        state: SandboxState::Ready,
        spec: SandboxSpec::default(),
        // Somebody looks after it, and has not noticed.
        detail: json!({ "replica": house.service().replica().name() }),
        token_hash: None,
        exit_reason: None,
        created_at: house.service().now(),
        ready_at: None,
        gone_at: None,
    };
    rows::insert_queued(&mut *house.connection().await, &row).await.unwrap();
    sweep(house.service(), &mut Marks::default(), LONG).await.unwrap();
    assert!(house.others(session).is_empty());
    sweep(house.service(), &mut Marks::default(), Duration::ZERO).await.unwrap();
    let Action::ReportLoss(loss) = house.next_but_startup(session).await else { panic!("no loss") };
    assert_eq!((loss.epoch, loss.reason.as_str(), loss.may_retry), (3, "exited", true));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_word_of_a_deleted_session_can_be_found() {
    let mut house = House::build(Limits::default()).await;
    let session = session();
    let agent = ready(&mut house, session, 1).await;
    let files = house.layout().workspace(session);
    for folder in [&files.root, &files.workspace, &files.home, &files.journal] {
        fs::create_dir_all(folder.join("deep")).unwrap();
        fs::write(folder.join("deep/file"), PLANTED).unwrap();
    }
    assert_eq!(files_with_the_word(house.layout().root()), 4);
    assert!(house.dump("sandboxes").await.contains(PLANTED));

    house.send(session, 1, delete()).await;
    house.gone(agent.sandbox, "deleted").await;
    house.workspace_gone(session).await;
    assert_eq!(files_with_the_word(house.layout().root()), 0);
    assert!(!house.dump("sandboxes").await.contains(PLANTED));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_was_overtaken_by_the_deletion_brings_nothing_up() {
    let house = House::build(Limits::default()).await;
    let (deleted, archived, superseded) = (session(), session(), session());
    house.store_environment("{}").await;
    house.store_session(archived).await;
    house.store_session(superseded).await;
    let (archived_id, superseded_id) = (archived.uuid(), superseded.uuid());
    house
        .execute(&format!(
            "update sessions set archived_at = now() where id = '{archived_id}';
             update sessions set epoch = 2 where id = '{superseded_id}'"
        ))
        .await;
    assert_eq!(house.carry_out(deleted, 1, delete()).await, Verdict::Done);
    for session in [deleted, archived, superseded] {
        let provision = house.wish_for_sandbox(session, None);
        assert_eq!(house.carry_out(session, 1, provision).await, Verdict::Done);
    }
    assert_eq!(house.dump("sandboxes").await, "");

    let wanted = house.wish_for_sandbox(superseded, None);
    assert_eq!(house.carry_out(superseded, 2, wanted).await, Verdict::Done);
    assert!(house.dump("sandboxes").await.contains(PLANTED));
}

fn delete() -> Wish {
    Wish::Stop(StopSandbox {
        reason: "deleted".to_owned(),
        remove_workspace: true,
        ..StopSandbox::default()
    })
}

/// Files below the folder that hold, or bear, the planted word.
fn files_with_the_word(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap().flatten();
    entries
        .map(|entry| {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                return files_with_the_word(&path);
            }
            let content = fs::read(&path).unwrap_or_default();
            let is_found = content.windows(PLANTED.len()).any(|part| part == PLANTED.as_bytes())
                || path.to_string_lossy().contains(PLANTED);
            usize::from(is_found)
        })
        .sum()
}
