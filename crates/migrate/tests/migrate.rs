//! The binary against the real PostgreSQL.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking, as tests do")]

use std::process::{Output, Stdio};

use test_support::TestDatabase;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

fn migrate(database_url: Option<&str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_migrate"));
    // Another directory, where no platform.toml lies.
    command.env_clear().current_dir(env!("CARGO_TARGET_TMPDIR")).kill_on_drop(true);
    if let Some(url) = database_url {
        command.env("DATABASE_URL", url);
    }
    command
}

async fn empty_database() -> TestDatabase {
    let database = TestDatabase::create().await.unwrap();
    let client = database.connect().await.unwrap();
    client.batch_execute("drop schema public cascade; create schema public").await.unwrap();
    database
}

fn text(output: &Output) -> (String, String) {
    let words = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (words(&output.stdout), words(&output.stderr))
}

#[tokio::test]
async fn an_empty_database_gets_every_table_and_a_second_run_changes_nothing() {
    let database = empty_database().await;
    let first = migrate(Some(database.url())).output().await.unwrap();
    let (printed, complaints) = text(&first);
    assert!(first.status.success(), "{complaints}");
    assert!(printed.contains("applied 20261124000000"), "{printed}");
    let client = database.connect().await.unwrap();
    client.batch_execute("select * from sessions, events, sandboxes").await.unwrap();

    let second = migrate(Some(database.url())).output().await.unwrap();
    assert!(second.status.success());
    assert_eq!(text(&second).0, "the database is up to date\n");
}

#[tokio::test]
async fn five_at_once_apply_each_migration_once() {
    let database = empty_database().await;
    let run = async || migrate(Some(database.url())).output().await.unwrap();
    let outputs = tokio::join!(run(), run(), run(), run(), run());
    let outputs: [Output; 5] = outputs.into();
    let mut applied = 0;
    for output in &outputs {
        let (printed, complaints) = text(output);
        assert!(output.status.success(), "{complaints}");
        applied += printed.matches("applied 20261124000000").count();
    }
    assert_eq!(applied, 1);
}

#[tokio::test]
async fn a_missing_address_is_said_in_a_sentence() {
    let output = migrate(None).output().await.unwrap();
    let (_, complaints) = text(&output);
    assert!(!output.status.success());
    assert!(complaints.contains("DATABASE_URL"), "{complaints}");
    assert!(!complaints.contains("panicked"), "{complaints}");
}

#[tokio::test]
async fn what_waiting_cannot_cure_is_said_at_once() {
    let database = TestDatabase::create().await.unwrap();
    for url in [format!("{}_of_nobody", database.url()), "no address".to_owned()] {
        let output = migrate(Some(&url)).output().await.unwrap();
        let (_, complaints) = text(&output);
        assert!(!output.status.success());
        assert!(complaints.contains("cannot connect to PostgreSQL"), "{complaints}");
        assert!(!complaints.contains("gave up"), "{complaints}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_up_yet_is_waited_for_visibly() {
    let url = "postgres://postgres@127.0.0.1:1/none";
    let mut child = migrate(Some(url)).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    assert!(line.starts_with("waiting up to 60 seconds for PostgreSQL: "), "{line}");
    child.kill().await.unwrap();
}
