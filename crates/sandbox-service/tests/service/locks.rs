//! One command of a session at a time, on whichever replica.

use std::future::{Ready, ready};
use std::time::Duration;

use platform_core::id::SessionId;
use platform_storage::Database;
use sandbox_service::session_locks::{LockError, SessionLocks};
use test_support::TestDatabase;
use tokio::sync::oneshot;
use uuid::Uuid;

async fn database() -> (TestDatabase, Database) {
    let test_database = TestDatabase::create().await.unwrap();
    let database = Database::connect(test_database.url(), 4).unwrap();
    (test_database, database)
}

fn session() -> SessionId {
    SessionId::from_uuid(Uuid::now_v7())
}

fn nothing() -> Ready<Result<(), LockError>> {
    ready(Ok(()))
}

#[tokio::test]
async fn another_replica_gets_the_session_when_this_one_is_done() {
    let (_server, database) = database().await;
    let (here, there) = (SessionLocks::default(), SessionLocks::default());
    let (session, other) = (session(), self::session());
    let meanwhile = async {
        let refused = there.hold(&database, session, nothing()).await;
        assert!(matches!(refused, Err(LockError::Busy)), "{refused:?}");
        there.hold(&database, other, nothing()).await
    };
    here.hold(&database, session, meanwhile).await.unwrap();
    there.hold(&database, session, nothing()).await.unwrap();
}

#[tokio::test]
async fn commands_of_one_replica_wait_for_each_other() {
    let (_server, database) = database().await;
    let locks = SessionLocks::default();
    let session = session();
    let (finish, finished) = oneshot::channel::<()>();
    let first = locks.hold(&database, session, async {
        finished.await.unwrap();
        Ok::<_, LockError>(())
    });
    let second = locks.hold(&database, session, nothing());
    tokio::pin!(first, second);
    // The first is polled first, and with it has the lock.
    tokio::select! {
        biased;
        _ = &mut first => panic!("it waits for us"),
        _ = &mut second => panic!("two at once"),
        () = tokio::time::sleep(Duration::from_millis(50)) => {}
    }
    finish.send(()).unwrap();
    let (first, second) = tokio::join!(first, second);
    first.unwrap();
    second.unwrap();
}

#[tokio::test]
async fn work_whose_lock_was_lost_is_dropped() {
    let (server, database) = database().await;
    let (here, there) = (SessionLocks::default(), SessionLocks::default());
    let session = session();
    let breaking = async {
        let client = server.connect().await.unwrap();
        let all_others = "select pg_terminate_backend(pid) from pg_stat_activity
            where datname = current_database() and pid <> pg_backend_pid()";
        client.batch_execute(all_others).await.unwrap();
        here.check().await;
        std::future::pending::<Result<(), LockError>>().await
    };
    let outcome = here.hold(&database, session, breaking).await;
    assert!(matches!(outcome, Err(LockError::Lost)), "{outcome:?}");
    there.hold(&database, session, nothing()).await.unwrap();
    here.hold(&database, session, nothing()).await.unwrap();
}
