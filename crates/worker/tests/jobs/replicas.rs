//! Several workers at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use worker::jobs::{CameRound, Job, JobError};

use crate::house::House;

const SECOND: Duration = Duration::from_secs(1);

fn counting(count: &Arc<AtomicUsize>) -> Job {
    let count = count.clone();
    Job::new("counting", SECOND, SECOND, move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        async { Ok(()) }
    })
}

#[tokio::test]
async fn one_of_many_workers_does_a_round_and_keeps_the_job_while_it_lives() {
    let house = House::build().await;
    let count = Arc::default();
    let job = counting(&count);
    let workers: Vec<_> = (0..4).map(|_| house.worker()).collect();
    let rounds = workers.iter().map(|worker| job.come_round(worker));
    let rounds: Vec<_> =
        futures::future::join_all(rounds).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(rounds.iter().filter(|round| **round == CameRound::Here).count(), 1);
    let holder = rounds.iter().position(|round| *round == CameRound::Here).unwrap();
    for worker in &workers {
        job.come_round(worker).await.unwrap();
    }
    assert_eq!(job.come_round(&workers[holder]).await.unwrap(), CameRound::Here);
    assert_eq!(count.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_dead_workers_job_is_taken_over_when_its_lease_has_run_out() {
    let house = House::build().await;
    let count = Arc::default();
    let job = counting(&count);
    let (dead, heir) = (house.worker(), house.worker());
    assert_eq!(job.come_round(&dead).await.unwrap(), CameRound::Here);
    assert_eq!(job.come_round(&heir).await.unwrap(), CameRound::Elsewhere);
    house.execute("update job_leases set until = clock_timestamp() - interval '1 ms'").await;
    assert_eq!(job.come_round(&heir).await.unwrap(), CameRound::Here);
    assert_eq!(job.come_round(&dead).await.unwrap(), CameRound::Elsewhere);
}

#[tokio::test]
async fn a_round_that_takes_too_long_is_dropped() {
    let house = House::build().await;
    let worker = house.worker();
    let limit = Duration::from_millis(20);
    let slow = Job::new("slow", SECOND, limit, |_| std::future::pending());
    let outcome = slow.come_round(&worker).await;
    assert!(matches!(outcome, Err(JobError::TookTooLong(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_job_that_always_panics_comes_round_again() {
    let house = House::build().await;
    let (tried, rounds) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let job = {
        let (tried, rounds) = (tried.clone(), rounds.clone());
        Job::new("panicking", Duration::from_millis(1), SECOND, move |_| {
            rounds.fetch_add(1, Ordering::Relaxed);
            tried.notify_one();
            async { panic!("on purpose") }
        })
    };
    let end = CancellationToken::new();
    let repeating = tokio::spawn(job.repeat(house.worker(), end.clone()));
    while rounds.load(Ordering::Relaxed) < 3 {
        tried.notified().await;
    }
    end.cancel();
    repeating.await.unwrap();
}

#[tokio::test]
async fn a_worker_that_ends_leaves_its_jobs_to_the_others_at_once() {
    let house = House::build().await;
    let count = Arc::default();
    let began = Arc::new(Notify::new());
    let job = {
        let began = began.clone();
        Job::new("counting", SECOND, SECOND, move |_| {
            began.notify_one();
            async { Ok(()) }
        })
    };
    let end = CancellationToken::new();
    let ending = tokio::spawn(job.repeat(house.worker(), end.clone()));
    began.notified().await;
    end.cancel();
    ending.await.unwrap();
    assert_eq!(counting(&count).come_round(&house.worker()).await.unwrap(), CameRound::Here);
}
