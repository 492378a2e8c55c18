//! Background tasks: each has a name, and none dies unseen.

use std::error::Error;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, error, error_span};

use super::Shutdown;

/// How a task ended.
pub trait TaskOutcome {
    /// Why the task failed, if it did.
    fn failure(self) -> Option<String>;
}

impl TaskOutcome for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> TaskOutcome for Result<(), E> {
    fn failure(self) -> Option<String> {
        let failure = self.err()?.into();
        let mut line = failure.to_string();
        let mut source = failure.source();
        while let Some(cause) = source {
            line = format!("{line}: {cause}");
            source = cause.source();
        }
        Some(line)
    }
}

/// The background tasks of a process. A task that fails or panics ends the process, in order: half a service helps nobody.
#[derive(Clone)]
pub struct Tasks {
    shutdown: Shutdown,
    tracker: TaskTracker,
    running: Arc<Mutex<Vec<(u64, &'static str)>>>,
    started: Arc<AtomicU64>,
    failed: Arc<AtomicBool>,
}

impl Tasks {
    pub fn new(shutdown: Shutdown) -> Self {
        Self {
            shutdown,
            tracker: TaskTracker::new(),
            running: Arc::default(),
            started: Arc::default(),
            failed: Arc::default(),
        }
    }

    /// Starts a task. It ends by itself once the shutdown is requested; ending earlier without a failure is fine too.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future + Send + 'static,
        F::Output: TaskOutcome + Send,
    {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        self.lock_running().push((number, name));
        let tasks = self.clone();
        let supervised = async move {
            let failure = match AssertUnwindSafe(task).catch_unwind().await {
                Ok(outcome) => outcome.failure(),
                Err(panic) => Some(format!("panicked: {}", describe_panic(&*panic))),
            };
            tasks.lock_running().retain(|(running, _)| *running != number);
            match failure {
                None => debug!("the task has ended"),
                Some(failure) => {
                    error!(failure, "the task failed, and with it the process");
                    tasks.failed.store(true, Ordering::Release);
                    tasks.shutdown.request();
                }
            }
        };
        self.tracker.spawn(supervised.instrument(error_span!("task", task.name = name)));
    }

    pub fn any_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Waits until every task has ended, at most `grace`; answers the names of those that have not.
    pub async fn drain(&self, grace: Duration) -> Vec<&'static str> {
        self.tracker.close();
        match tokio::time::timeout(grace, self.tracker.wait()).await {
            Ok(()) => Vec::new(),
            Err(_elapsed) => self.lock_running().iter().map(|(_, name)| *name).collect(),
        }
    }

    fn lock_running(&self) -> std::sync::MutexGuard<'_, Vec<(u64, &'static str)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn describe_panic(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn a_task_that_fails_ends_the_process() {
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(shutdown.clone());
        tasks.spawn("failing", async { Err::<(), _>("the database is gone") });
        shutdown.requested().await;
        assert!(tasks.any_failed());
    }

    #[tokio::test]
    async fn a_task_that_panics_ends_the_process() {
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(shutdown.clone());
        let panicking: fn() = || panic!("no such thing");
        tasks.spawn("panicking", async move { panicking() });
        shutdown.requested().await;
        assert!(tasks.any_failed());
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_waits_for_tasks_and_names_those_that_hang() {
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(shutdown.clone());
        let token = shutdown.token();
        tasks.spawn("orderly", async move { token.cancelled().await });
        tasks.spawn("hanging", std::future::pending::<()>());
        shutdown.request();
        assert_eq!(tasks.drain(GRACE).await, ["hanging"]);
        assert!(!tasks.any_failed());
    }
}
