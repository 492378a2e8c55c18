use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::StorageError;
use crate::fixture::Fixture;

const SWEEP: &str = "sweep";
const MINUTE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn a_job_has_one_holder_until_its_time_runs_out() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let (mine, theirs) = (Uuid::now_v7(), Uuid::now_v7());
    assert!(claim(&mut connection, SWEEP, mine, MINUTE).await.unwrap());
    assert!(!claim(&mut connection, SWEEP, theirs, MINUTE).await.unwrap());
    assert!(claim(&mut connection, SWEEP, mine, MINUTE).await.unwrap());
    assert!(claim(&mut connection, "another", theirs, MINUTE).await.unwrap());

    // Mine died: it never came back to claim the job once more.
    let server = fixture.server.connect().await.unwrap();
    let end = "update job_leases set until = clock_timestamp() - interval '1 ms' where job = $1";
    assert_eq!(server.execute(end, &[&SWEEP]).await.unwrap(), 1);
    assert!(claim(&mut connection, SWEEP, theirs, MINUTE).await.unwrap());
    assert!(!claim(&mut connection, SWEEP, mine, MINUTE).await.unwrap());
}

#[tokio::test]
async fn of_many_that_claim_at_once_one_gets_the_job() {
    let fixture = Fixture::create().await;
    let claims = (0..8).map(|_| async {
        let mut connection = fixture.connection().await;
        claim(&mut connection, SWEEP, Uuid::now_v7(), MINUTE).await.unwrap()
    });
    let won = futures::future::join_all(claims).await;
    assert_eq!(won.into_iter().filter(|won| *won).count(), 1);
}

#[tokio::test]
async fn a_job_given_back_is_free_at_once_and_only_its_holder_gives_it_back() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let (mine, theirs) = (Uuid::now_v7(), Uuid::now_v7());
    assert!(claim(&mut connection, SWEEP, mine, MINUTE).await.unwrap());
    release(&mut connection, SWEEP, theirs).await.unwrap();
    assert!(!claim(&mut connection, SWEEP, theirs, MINUTE).await.unwrap());
    release(&mut connection, SWEEP, mine).await.unwrap();
    assert!(claim(&mut connection, SWEEP, theirs, MINUTE).await.unwrap());
}

#[tokio::test]
async fn nobody_takes_a_job_while_a_transaction_holds_it() {
    let fixture = Fixture::create().await;
    let (mine, theirs) = (Uuid::now_v7(), Uuid::now_v7());
    // So short that it is over at once.
    let duration = Duration::from_nanos(1);
    assert!(claim(&mut *fixture.connection().await, SWEEP, mine, duration).await.unwrap());
    let holding = fixture.database.transaction::<_, StorageError>(async |connection| {
        assert!(!hold(connection, SWEEP, theirs).await?);
        assert!(hold(connection, SWEEP, mine).await?);
        let mut other = fixture.connection().await;
        let claimed = claim(&mut other, SWEEP, theirs, MINUTE);
        let waits = tokio::time::timeout(Duration::from_millis(200), claimed).await;
        assert!(waits.is_err(), "the claim has to wait for the transaction");
        Ok(())
    });
    holding.await.unwrap();
    assert!(claim(&mut *fixture.connection().await, SWEEP, theirs, MINUTE).await.unwrap());
    assert!(!hold(&mut *fixture.connection().await, SWEEP, mine).await.unwrap());
}
