//! Opening and closing ways out on command, and after a restart.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use platform_core::clock::Clock;
use platform_core::environment::SandboxSpec;
use platform_core::harness::HarnessName;
use platform_core::id::{EnvironmentId, SandboxId};
use platform_core::sandbox::{Backend, Sandbox, SandboxState};
use platform_messaging::proto::egress::egress_command::Action;
use platform_messaging::proto::egress::{CloseEgress, EgressCommand, EgressReply, OpenEgress};
use platform_messaging::{Incoming, Verdict, decode, encode};
use platform_runtime::clock::SystemClock;
use platform_runtime::lifecycle::{Shutdown, Tasks};
use platform_storage::{Database, sandbox as rows};
use serde_json::json;
use test_support::TestDatabase;
use tokio::net::UnixStream;
use uuid::Uuid;
use vault_proxy::commands::{carry_out, reopen_all};
use vault_proxy::doors::Doors;
use vault_proxy::forward::Gateway;

fn doors(database: &Database) -> Doors {
    let shutdown = Shutdown::new();
    let gateway = Gateway::new("http://127.0.0.1:9".to_owned(), None).unwrap();
    let tasks = Tasks::new(shutdown.clone());
    Doors::new(Arc::new(database.clone()), gateway, None, tasks, shutdown.token())
}

fn answer(doors: &Doors, sandbox: SandboxId, action: Action) -> String {
    let command = EgressCommand {
        command_id: Uuid::now_v7().to_string(),
        sandbox_id: sandbox.uuid().to_string(),
        action: Some(action),
    };
    let message = Incoming {
        exchange: String::new(),
        routing_key: String::new(),
        kind: String::new(),
        message_id: String::new(),
        body: encode(&command).into(),
        delivery_count: 0,
        wants_answer: true,
        traceparent: None,
    };
    let Verdict::Answer(body) = carry_out(doors, &message) else { panic!("no answer") };
    decode::<EgressReply>(&body).unwrap().error
}

fn open(path: &Path) -> Action {
    Action::Open(OpenEgress { socket_path: path.to_str().unwrap().to_owned() })
}

#[tokio::test]
async fn a_way_out_opens_and_closes_on_command_however_often() {
    let test_database = TestDatabase::create().await.unwrap();
    let doors = doors(&Database::connect(test_database.url(), 2).unwrap());
    let folder = tempfile::tempdir().unwrap();
    // Deeper than the address of a unix socket can tell.
    let deep = folder.path().join("a-rather-long-name-for-a-folder/".repeat(4));
    std::fs::create_dir_all(&deep).unwrap();
    let (path, sandbox) = (deep.join("proxy.sock"), SandboxId::from_uuid(Uuid::now_v7()));

    assert_eq!(answer(&doors, sandbox, open(&path)), "");
    assert_eq!(answer(&doors, sandbox, open(&path)), "");
    assert!(path.exists());
    assert_eq!(answer(&doors, sandbox, Action::Close(CloseEgress {})), "");
    assert_eq!(answer(&doors, sandbox, Action::Close(CloseEgress {})), "");
    assert!(!path.exists());

    let refused = answer(&doors, sandbox, open(Path::new("/nowhere/at/all/proxy.sock")));
    assert!(refused.starts_with("its way out could not be opened"), "{refused}");
}

#[tokio::test]
async fn ways_out_of_living_sandboxes_are_open_again_after_a_restart() {
    let test_database = TestDatabase::create().await.unwrap();
    let database = Database::connect(test_database.url(), 2).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.sock");
    // What the proxy before left behind: a socket at which nobody listens.
    drop(tokio::net::UnixListener::bind(&path).unwrap());
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
    drop(connection);

    reopen_all(&doors(&database), &database, "here").await.unwrap();
    UnixStream::connect(&path).await.unwrap();
}
