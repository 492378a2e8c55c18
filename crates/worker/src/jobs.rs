//! Jobs that come round again and again.

pub mod forget_old;
pub mod release_idle;
pub mod sweep_outbox;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use platform_core::clock::{Clock, IdSource};
use platform_messaging::{Broker, PublishError, RequestError};
use platform_storage::{Database, StorageError};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// What every job needs.
#[derive(Clone)]
pub struct Context {
    pub database: Database,
    pub broker: Broker,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn IdSource>,
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
}

type Round = Box<dyn Fn(Context) -> BoxFuture<'static, Result<(), JobError>> + Send + Sync>;

/// A job and how often it comes round.
pub struct Job {
    pub name: &'static str,
    pause: Duration,
    round: Round,
}

impl Job {
    pub fn new<F>(
        name: &'static str,
        pause: Duration,
        round: impl Fn(Context) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), JobError>> + Send + 'static,
    {
        Self { name, pause, round: Box::new(move |context| round(context).boxed()) }
    }

    /// Repeats the job until `shutdown`. A round under way is finished; one that fails is reported, and does not stop the next. Rounds
    /// never overlap: one that takes longer than its pause delays the next.
    pub async fn repeat(self, context: Context, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(self.pause);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if let Err(failure) = (self.round)(context.clone()).await {
                warn!(job = self.name, error = %failure, "a round was broken off");
            }
        }
    }
}
