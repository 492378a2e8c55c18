//! What is under way at one door: tunnels, streams of HTTP/2 and connections outwards, which end with the door.

use std::future::Future;
use std::sync::Arc;

use hyper::rt::Executor;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// One of the connections that a sandbox may have. It is taken until everything that came of the connection is over, tunnels too.
#[derive(Debug, Clone)]
pub struct Seat {
    _held: Arc<OwnedSemaphorePermit>,
}

impl Seat {
    pub fn new(permit: OwnedSemaphorePermit) -> Self {
        Self { _held: Arc::new(permit) }
    }

    /// That of the connection on which a request came.
    pub fn of<B>(request: &http::Request<B>) -> Option<Self> {
        request.extensions().get().cloned()
    }

    /// Notes on a request on which connection it came.
    pub fn note_on<B>(&self, request: &mut http::Request<B>) {
        request.extensions_mut().insert(self.clone());
    }
}

/// Starts what a retired door waits for and a closed one cuts. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Underway {
    tasks: TaskTracker,
    /// Nothing new is begun.
    retired: CancellationToken,
    /// Everything is dropped where it stands.
    cut: CancellationToken,
}

impl Underway {
    /// `retired` asks what is under way to come to an end.
    pub fn new(retired: CancellationToken) -> Self {
        Self { tasks: TaskTracker::new(), retired, cut: CancellationToken::new() }
    }

    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let cut = self.cut.clone();
        // A panic is told by the panic hook; what it carried is dropped with it.
        self.tasks.spawn(async move {
            cut.run_until_cancelled_owned(task).await;
        });
    }

    /// Resolves once the door is retired.
    pub async fn retired(&self) {
        self.retired.cancelled().await;
    }

    /// Resolves once nothing is under way any more. Nothing may be spawned that is not spawned by what is under way.
    pub async fn finished(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Cuts everything once the guard is dropped.
    pub fn cut_on_drop(&self) -> DropGuard {
        self.cut.clone().drop_guard()
    }

    /// Starts what is cut with the door, and not waited for.
    pub fn background(&self) -> Background {
        Background(self.cut.clone())
    }
}

impl<F> Executor<F> for Underway
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        self.spawn(async move {
            task.await;
        });
    }
}

/// See [`Underway::background`].
#[derive(Debug, Clone)]
pub struct Background(CancellationToken);

impl Background {
    pub fn until(end: CancellationToken) -> Self {
        Self(end)
    }
}

impl<F> Executor<F> for Background
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        let cut = self.0.clone();
        tokio::spawn(async move {
            cut.run_until_cancelled_owned(task).await;
        });
    }
}
