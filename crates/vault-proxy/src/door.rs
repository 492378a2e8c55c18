//! One sandbox's way out: a unix socket that is itself the credential, because only that sandbox can reach it.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use platform_core::id::SandboxId;
use platform_storage::sandbox::SandboxIdentity;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::forward::{Body, Gateway};
use crate::owner::{Owners, tags};
use crate::policy::{Purpose, permit};
use crate::refusal::Refusal;

/// Connections of one sandbox at the same time. Further ones wait.
const MOST_CONNECTIONS: usize = 64;

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

/// What answers at one sandbox's socket.
pub struct Door {
    sandbox: SandboxId,
    owners: Arc<dyn Owners>,
    gateway: Gateway,
    /// Once claimed, a sandbox never changes its owner.
    owner: OnceCell<SandboxIdentity>,
}

impl Door {
    pub fn new(sandbox: SandboxId, owners: Arc<dyn Owners>, gateway: Gateway) -> Arc<Self> {
        Arc::new(Self { sandbox, owners, gateway, owner: OnceCell::new() })
    }

    /// Answers connections until `end`. `listening` is dropped as soon as no further one is taken.
    pub async fn serve<T>(self: Arc<Self>, listener: UnixListener, listening: T, end: DoorEnd) {
        let mut connections = JoinSet::new();
        self.accept(listener, &end, &mut connections).await;
        drop(listening);
        let finished = async { while connections.join_next().await.is_some() {} };
        tokio::select! {
            () = end.closed.cancelled() => {}
            _finished_or_elapsed = tokio::time::timeout(FINISHED_WITHIN, finished) => {}
        }
    }

    async fn accept(
        self: &Arc<Self>,
        listener: UnixListener,
        end: &DoorEnd,
        connections: &mut JoinSet<()>,
    ) {
        let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                () = end.closed.cancelled() => return,
                () = end.retired.cancelled() => return,
                accepted = accept_one(&listener, &places) => accepted,
            };
            match accepted {
                Ok((stream, place)) => {
                    let (door, retired) = (self.clone(), end.retired.clone());
                    connections.spawn(async move {
                        door.serve_connection(stream, retired).await;
                        drop(place);
                    });
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
    async fn serve_connection(self: Arc<Self>, stream: UnixStream, retired: CancellationToken) {
        let service = service_fn(move |request| {
            let door = self.clone();
            async move { Ok::<_, Infallible>(door.answer(request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service);
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
        let begun = Instant::now();
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = match self.decide(request).await {
            Ok(response) => response,
            Err(refusal) => {
                self.record(&method, &path, refusal.status, begun, Some(refusal.code));
                return refusal.into_response();
            }
        };
        self.record(&method, &path, response.status(), begun, None);
        response
    }

    async fn decide(&self, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let purpose = permit(request.method(), request.uri()).map_err(|forbidden| {
            Refusal::new(StatusCode::FORBIDDEN, "egress_forbidden", forbidden.to_string())
        })?;
        let tags = match purpose {
            Purpose::ListModels => None,
            Purpose::CallModel => Some(tags(self.owner().await?)),
        };
        self.gateway.forward(request, tags.as_deref()).await
    }

    async fn owner(&self) -> Result<&SandboxIdentity, Refusal> {
        self.owner
            .get_or_try_init(|| async {
                let found = self.owners.owner_of(self.sandbox).await.map_err(|error| {
                    tracing::warn!(sandbox.id = %self.sandbox, error = &error as &dyn std::error::Error, "the owner of a sandbox cannot be looked up");
                    let message = "it cannot be looked up now whose sandbox this is";
                    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "owner_unknown", message)
                })?;
                found.ok_or_else(|| {
                    let message = "this sandbox belongs to no session, so it may not call models";
                    Refusal::new(StatusCode::FORBIDDEN, "no_session", message)
                })
            })
            .await
    }

    /// One line per decision. Bodies and keys are in none of them.
    fn record(
        &self,
        method: &Method,
        path: &str,
        status: StatusCode,
        begun: Instant,
        refused: Option<&str>,
    ) {
        let session = self.owner.get().map(|owner| owner.session_id.to_string());
        let path: String = path.chars().take(200).collect();
        tracing::info!(
            sandbox.id = %self.sandbox,
            session.id = session,
            http.method = %method,
            http.path = path,
            http.status = status.as_u16(),
            duration_ms = begun.elapsed().as_millis(),
            refused,
            "egress"
        );
    }
}

async fn accept_one(
    listener: &UnixListener,
    places: &Arc<Semaphore>,
) -> io::Result<(UnixStream, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
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
