use std::time::Duration;

use platform_core::failure::{Failure, FailureKind};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::fixture::{Fixture, new_team};
use crate::{Connection, Database, StorageError, session, team};

#[tokio::test]
async fn connections_come_back_after_the_server_ended_them() {
    let fixture = Fixture::create().await;
    fixture.database.ping().await.unwrap();
    let administrator = fixture.server.connect().await.unwrap();
    let end_all = "select pg_terminate_backend(pid, 5000) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid()";
    administrator.batch_execute(end_all).await.unwrap();
    // The end may be noticed only in use, once for each connection of the pool.
    let mut failures = 0;
    while let Err(error) = fixture.database.ping().await {
        assert_eq!(error.kind(), FailureKind::Unavailable, "{error:?}");
        failures += 1;
        assert!(failures <= 8, "still failing: {error:?}");
    }
}

#[tokio::test]
async fn a_statement_whose_connection_is_ended_fails_as_unavailable() {
    let fixture = Fixture::create().await;
    let administrator = fixture.server.connect().await.unwrap();
    let error = fixture
        .database
        .transaction::<(), StorageError>(async |connection| {
            team::list(connection, crate::fixture::first_page(1)).await?;
            let end_others = "select pg_terminate_backend(pid, 5000) from pg_stat_activity
                where datname = current_database() and pid <> pg_backend_pid()";
            administrator.batch_execute(end_others).await.unwrap();
            team::list(connection, crate::fixture::first_page(1)).await.map(drop)
        })
        .await
        .unwrap_err();
    assert_eq!(error.kind(), FailureKind::Unavailable, "{error:?}");
    assert!(error.is_transient());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable_at_once() {
    let database = Database::connect("postgres://nobody@127.0.0.1:1/none", 2).unwrap();
    let error = database.ping().await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Unavailable);
}

#[tokio::test]
async fn a_transaction_that_fails_stores_nothing() {
    let fixture = Fixture::create().await;
    let other = new_team("globex");
    let result = fixture
        .database
        .transaction::<(), StorageError>(async |connection| {
            team::insert(connection, &other).await?;
            Err(StorageError::NotFound("reason to go on"))
        })
        .await;
    assert!(matches!(result, Err(StorageError::NotFound(_))));
    assert_eq!(team::find(&mut *fixture.connection().await, other.id).await.unwrap(), None);
}

#[tokio::test]
async fn a_dropped_transaction_gives_its_row_locks_back() {
    let fixture = Fixture::create().await;
    let session = fixture.stored_session().await;
    let (team, id) = (session.team_id, session.id);
    let (locked, has_lock) = oneshot::channel();
    let database = fixture.database.clone();
    // Spawned, because that also shows that a transaction can move between threads.
    let holder = tokio::spawn(async move {
        database
            .transaction::<(), StorageError>(async |connection| {
                session::lock(connection, team, id).await?;
                locked.send(()).unwrap();
                std::future::pending().await
            })
            .await
    });
    has_lock.await.unwrap();
    holder.abort();
    assert!(holder.await.unwrap_err().is_cancelled());
    // From outside the pool, which would close a connection with an open transaction only when it hands it out again.
    let outside = fixture.server.connect().await.unwrap();
    let relock = outside.query("select id from sessions for update", &[]);
    let locked = timeout(Duration::from_secs(10), relock).await.expect("the lock is free again");
    assert_eq!(locked.unwrap().len(), 1);
}

#[tokio::test]
async fn unique_names_and_missing_parents_are_told_apart() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let twin = new_team("acme");
    let taken = team::insert(&mut connection, &twin).await.unwrap_err();
    assert_eq!(taken.kind(), FailureKind::Conflict);
    let orphan = crate::fixture::new_environment(&twin, "default");
    let missing = crate::environment::insert(&mut connection, &orphan).await.unwrap_err();
    assert_eq!(missing.kind(), FailureKind::NotFound);
    refuse_nul(&mut connection).await;
}

async fn refuse_nul(connection: &mut Connection) {
    let error = team::insert(connection, &new_team("a\0b")).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Invalid, "{error:?}");
}
