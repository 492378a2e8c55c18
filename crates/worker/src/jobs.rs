//! Jobs that come round again and again, each in the hands of one replica at a time.

pub mod archive_inactive;
pub mod delete_archived;
pub mod forget_old;
pub mod reconcile_sessions;
pub mod release_idle;
pub mod resume_paused;
pub mod stop_unwanted;
pub mod sweep_outbox;

mod ask;

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use platform_core::clock::{Clock, IdSource};
use platform_messaging::{Broker, DecodeError, PublishError, RequestError};
use platform_storage::{Database, StorageError, job_lease};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use uuid::Uuid;

/// How much longer a lease lasts than a round and the pause after it can: what a busy machine may add.
const SLACK: Duration = Duration::from_secs(2);

/// What every job needs.
#[derive(Clone)]
pub struct Context {
    pub database: Database,
    pub broker: Broker,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn IdSource>,
    /// How long decisions of the way out are kept.
    pub egress_kept: Duration,
    /// This process, as holder of leases.
    pub holder: Uuid,
}

/// A round of a job was broken off; the next one goes on.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("session-service's answer is unreadable")]
    Answer(#[from] DecodeError),
    #[error("another replica took the job over")]
    TakenOver,
    #[error("it took longer than {0:?}")]
    TookTooLong(Duration),
    #[error("it panicked: {0}")]
    Panicked(String),
}

/// Who did the work of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CameRound {
    Here,
    /// Another replica has the job in hand.
    Elsewhere,
}

type Round = Box<dyn Fn(Context) -> BoxFuture<'static, Result<(), JobError>> + Send + Sync>;

/// A job, how often it comes round, and how long a round may take.
pub struct Job {
    pub name: &'static str,
    pause: Duration,
    limit: Duration,
    round: Round,
}

/// Every job of the worker.
pub fn all() -> [Job; 8] {
    [
        sweep_outbox::job(),
        release_idle::job(),
        resume_paused::job(),
        reconcile_sessions::job(),
        stop_unwanted::job(),
        archive_inactive::job(),
        delete_archived::job(),
        forget_old::job(),
    ]
}

impl Job {
    pub fn new<F>(
        name: &'static str,
        pause: Duration,
        limit: Duration,
        round: impl Fn(Context) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), JobError>> + Send + 'static,
    {
        Self { name, pause, limit, round: Box::new(move |context| round(context).boxed()) }
    }

    /// Repeats the job until `shutdown`, and then leaves it to the other replicas. A round under way is finished; one that fails is
    /// reported, and stops neither the next one nor another job. Rounds never overlap.
    pub async fn repeat(self, context: Context, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(self.pause);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_failing = false;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = ticks.tick() => {}
            }
            match self.come_round(&context).await {
                Ok(_) if is_failing => info!(job = self.name, "the job goes on"),
                Ok(_) => {}
                // An outage is told once, not once per round.
                Err(failure) if is_failing => {
                    debug!(job = self.name, error = %failure, "a round was broken off");
                    continue;
                }
                Err(failure) => {
                    warn!(job = self.name, error = %failure, "a round was broken off");
                    is_failing = true;
                    continue;
                }
            }
            is_failing = false;
        }
        if let Err(failure) = self.give_back(&context).await {
            debug!(job = self.name, error = %failure, "the job's lease runs out by itself");
        }
    }

    /// Does one round, unless another replica has the job in hand.
    ///
    /// A round that takes too long is dropped, which rolls its transaction back: so its lease outlives it, and two replicas are never at
    /// it at once.
    pub async fn come_round(&self, context: &Context) -> Result<CameRound, JobError> {
        let lease = self.pause + self.limit + SLACK;
        let mut connection = context.database.connection().await?;
        let is_mine = job_lease::claim(&mut connection, self.name, context.holder, lease).await?;
        drop(connection);
        if !is_mine {
            return Ok(CameRound::Elsewhere);
        }
        let round = AssertUnwindSafe((self.round)(context.clone())).catch_unwind();
        match tokio::time::timeout(self.limit, round).await {
            Ok(Ok(outcome)) => outcome.map(|()| CameRound::Here),
            Ok(Err(panic)) => Err(JobError::Panicked(describe(panic.as_ref()))),
            Err(_elapsed) => Err(JobError::TookTooLong(self.limit)),
        }
    }

    async fn give_back(&self, context: &Context) -> Result<(), StorageError> {
        let mut connection = context.database.connection().await?;
        job_lease::release(&mut connection, self.name, context.holder).await
    }
}

fn describe(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
