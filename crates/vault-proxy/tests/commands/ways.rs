//! Opening and closing ways out on command, and after a restart.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use platform_core::clock::Clock;
use platform_core::environment::SandboxSpec;
use platform_core::harness::HarnessName;
use platform_core::id::{EnvironmentId, SandboxId};
use platform_core::sandbox::{Backend, Sandbox, SandboxState};
use platform_messaging::proto::egress::egress_command::Action;
use platform_messaging::proto::egress::{CloseEgress, OpenEgress};
use platform_runtime::clock::SystemClock;
use platform_runtime::lifecycle::Shutdown;
use platform_storage::{Database, sandbox as rows};
use serde_json::json;
use test_support::TestDatabase;
use tokio::net::UnixStream;
use uuid::Uuid;
use vault_proxy::commands::{Desk, reopen_all};
use vault_proxy::doors::Doors;
use vault_proxy::replicas::Replica;

use crate::house::{ask, desk_of};

fn doors(database: &Database) -> Doors {
    desk_of(database, &Shutdown::new()).doors
}

async fn answer(desk: &Desk, sandbox: SandboxId, action: Action) -> String {
    ask(desk, &sandbox.uuid().to_string(), action).await.error
}

fn open(path: &Path) -> Action {
    Action::Open(OpenEgress { socket_path: path.to_str().unwrap().to_owned() })
}

#[tokio::test]
async fn a_way_out_opens_and_closes_on_command_however_often() {
    let test_database = TestDatabase::create().await.unwrap();
    let desk = desk_of(&Database::connect(test_database.url(), 2).unwrap(), &Shutdown::new());
    let folder = tempfile::tempdir().unwrap();
    // Deeper than the address of a unix socket can tell.
    let deep = folder.path().join("a-rather-long-name-for-a-folder/".repeat(4));
    std::fs::create_dir_all(&deep).unwrap();
    let (path, sandbox) = (deep.join("proxy.sock"), SandboxId::from_uuid(Uuid::now_v7()));

    assert_eq!(answer(&desk, sandbox, open(&path)).await, "");
    assert_eq!(answer(&desk, sandbox, open(&path)).await, "");
    assert!(path.exists());
    assert_eq!(answer(&desk, sandbox, Action::Close(CloseEgress {})).await, "");
    assert_eq!(answer(&desk, sandbox, Action::Close(CloseEgress {})).await, "");
    assert!(!path.exists());

    let refused = answer(&desk, sandbox, open(Path::new("/nowhere/at/all/proxy.sock"))).await;
    assert!(refused.starts_with("its way out could not be opened"), "{refused}");
}

/// A sandbox of this machine whose way out is at that path.
async fn store_sandbox(database: &Database, path: &Path) {
    let sandbox = Sandbox {
        id: SandboxId::from_uuid(Uuid::now_v7()),
        team_id: None,
        session_id: None,
        agent_id: None,
        epoch: None,
        environment_id: EnvironmentId::from_uuid(Uuid::now_v7()),
        harness: HarnessName::parse("opencode").unwrap(),
        backend: Backend::Local,
        host: "here".to_owned(),
        state: SandboxState::Warm,
        spec: SandboxSpec::default(),
        detail: json!({ "egress_socket": path }),
        token_hash: None,
        exit_reason: None,
        created_at: SystemClock.now(),
        ready_at: None,
        gone_at: None,
    };
    let mut connection = database.connection().await.unwrap();
    rows::insert_unclaimed(&mut connection, &sandbox).await.unwrap();
}

#[tokio::test]
async fn ways_out_of_living_sandboxes_are_open_again_after_a_restart() {
    let test_database = TestDatabase::create().await.unwrap();
    let database = Database::connect(test_database.url(), 2).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.sock");
    // What the proxy before left behind: a socket at which nobody listens.
    drop(tokio::net::UnixListener::bind(&path).unwrap());
    store_sandbox(&database, &path).await;

    reopen_all(&doors(&database), &database, "here").await.unwrap();
    UnixStream::connect(&path).await.unwrap();
}

#[tokio::test]
async fn a_way_out_that_is_open_in_another_replica_is_left_to_it() {
    let test_database = TestDatabase::create().await.unwrap();
    let database = Database::connect(test_database.url(), 2).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.sock");
    store_sandbox(&database, &path).await;
    reopen_all(&doors(&database), &database, "here").await.unwrap();
    let before = std::fs::metadata(&path).unwrap().ino();
    reopen_all(&doors(&database), &database, "here").await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().ino(), before);
}

#[tokio::test]
async fn another_replica_opens_the_ways_out_of_one_that_ends() {
    let test_database = TestDatabase::create().await.unwrap();
    let database = Database::connect(test_database.url(), 2).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.sock");
    store_sandbox(&database, &path).await;
    let start = |name: &str| {
        let shutdown = Shutdown::new();
        let doors = desk_of(&database, &shutdown).doors;
        let replica = Replica::announce(folder.path(), name.to_owned()).unwrap();
        let keeping =
            replica.keep(doors.clone(), database.clone(), "here".to_owned(), shutdown.token());
        (doors, shutdown, tokio::spawn(keeping))
    };
    let (doors, first, ending) = start("first");
    reopen_all(&doors, &database, "here").await.unwrap();
    let (_doors, second, _keeping) = start("second");
    let asked = Instant::now();
    first.request();
    ending.await.unwrap();
    // The first one takes nothing any more, so whoever answers is the second.
    while UnixStream::connect(&path).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    second.request();
}
