//! One sandbox's way out: a unix socket that is itself the credential, because only that sandbox can reach it; for a pod, what the gate
//! hands in.

mod arrivals;
mod stream;

use std::convert::Infallible;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use platform_core::id::SandboxId;
use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::model::{Calls, Models};
use crate::proxy::{Seat, Underway, Way, http1_settings};
use crate::rules::Body;

pub use arrivals::Arrivals;
pub use stream::Stream;

/// Connections of one sandbox at the same time. Further ones wait.
const MOST_CONNECTIONS: usize = 256;

/// How long requests under way may take after the door was retired.
const FINISHED_WITHIN: Duration = Duration::from_secs(15);

/// The two ways in which a door ends.
#[derive(Debug, Clone, Default)]
pub struct DoorEnd {
    /// Its sandbox is gone: what is under way is cut.
    pub closed: CancellationToken,
    /// Another replica takes its place: what is under way is finished.
    pub retired: CancellationToken,
}

/// What answers one sandbox.
pub struct Door {
    sandbox: SandboxId,
    calls: Calls,
    way: Arc<Way>,
    underway: Underway,
}

impl Door {
    /// `way` starts with `underway` what outlives a connection.
    pub fn new(
        sandbox: SandboxId,
        models: Arc<Models>,
        way: Arc<Way>,
        underway: Underway,
    ) -> Arc<Self> {
        Arc::new(Self { sandbox, calls: Calls::new(models, sandbox), way, underway })
    }

    /// Answers connections until `end`. `listening` is dropped as soon as no further one is taken.
    pub async fn serve<T>(
        self: Arc<Self>,
        arrivals: impl Into<Arrivals>,
        listening: T,
        end: DoorEnd,
    ) {
        let _cut_at_the_end = self.underway.cut_on_drop();
        let mut connections = JoinSet::new();
        self.accept(arrivals.into(), &end, &mut connections).await;
        drop(listening);
        let finished = async {
            while connections.join_next().await.is_some() {}
            self.underway.finished().await;
        };
        tokio::select! {
            () = end.closed.cancelled() => {}
            _finished_or_elapsed = tokio::time::timeout(FINISHED_WITHIN, finished) => {}
        }
    }

    async fn accept(
        self: &Arc<Self>,
        mut arrivals: Arrivals,
        end: &DoorEnd,
        connections: &mut JoinSet<()>,
    ) {
        let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                () = end.closed.cancelled() => return,
                () = end.retired.cancelled() => return,
                accepted = accept_one(&mut arrivals, &places) => accepted,
            };
            match accepted {
                Ok(None) => return,
                Ok(Some((stream, seat))) => {
                    let (door, retired) = (self.clone(), end.retired.clone());
                    connections.spawn(door.serve_connection(stream, seat, retired));
                }
                Err(error) => {
                    // Out of file descriptors, most likely: a pause instead of a hot loop.
                    tracing::warn!(sandbox.id = %self.sandbox, %error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
    }

    /// Once `retired`, the request under way is answered and no further one is taken.
    async fn serve_connection(
        self: Arc<Self>,
        stream: Stream,
        seat: Seat,
        retired: CancellationToken,
    ) {
        let service = service_fn(move |mut request| {
            seat.note_on(&mut request);
            let door = self.clone();
            async move { Ok::<_, Infallible>(door.answer(request).await) }
        });
        let connection =
            http1_settings().serve_connection(TokioIo::new(stream), service).with_upgrades();
        tokio::pin!(connection);
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = retired.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served {
            tracing::debug!(error = &error as &dyn std::error::Error, "a connection broke off");
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        if Way::is_for_another_host(&request) {
            self.way.answer(request).await
        } else {
            self.calls.answer(request).await
        }
    }
}

/// The next connection, once there is a place for it. `None`: there will be none.
async fn accept_one(
    arrivals: &mut Arrivals,
    places: &Arc<Semaphore>,
) -> io::Result<Option<(Stream, Seat)>> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let stream = arrivals.next().await?;
    Ok(stream.map(|stream| (stream, Seat::new(place))))
}

/// Listens at `path`, so that only `user` can connect (when this process may give the socket away).
///
/// The socket is bound through its folder's descriptor, because the address of a unix socket holds 107 bytes and data
/// directories can be deeper than that.
pub fn listen(path: &Path, user: Option<u32>) -> io::Result<UnixListener> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the socket's path has no folder"));
    };
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let folder = File::open(folder)?;
    let short = short(&folder, name);
    let listener = UnixListener::bind(&short)?;
    fs::set_permissions(&short, Permissions::from_mode(0o600))?;
    if let Some(user) = user {
        chown(&short, Some(user), Some(user))?;
    }
    Ok(listener)
}

/// The same path in few bytes.
pub(crate) fn short(folder: &File, name: &OsStr) -> PathBuf {
    Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name)
}
