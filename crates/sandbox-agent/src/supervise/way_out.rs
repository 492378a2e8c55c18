//! In a pod: the socket at which the harness's room finds the way out, carried to vault-proxy with this sandbox's ticket.

mod trust;

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use platform_messaging::proto::link;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout_at};

pub(super) use trust::TrustError;

/// What a connection to vault-proxy begins with; the ticket follows.
const GREETING: &[u8] = b"LAP1";
const TICKET_BYTES: usize = 32;

/// While vault-proxy is being restarted, or before the first welcome, a connection waits instead of failing.
const PATIENCE: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(50);
/// Large files go through here, and a connection that idles holds two of these.
const CHUNK: usize = 32 * 1024;
/// More than `init` carries at the same time.
const MOST_CONNECTIONS: usize = 1024;

/// A connection whose other end is gone is noticed after a minute.
const SILENT_SECONDS: u32 = 30;
const PROBE_SECONDS: u32 = 10;
const PROBES: u32 = 3;

#[derive(Debug, clap::Args)]
pub(super) struct Openings {
    /// In a pod: the socket at which the harness's room finds the way out.
    #[arg(long)]
    egress_socket: Option<PathBuf>,
    /// In a pod: the file of what the harness's room trusts, to which the sandbox's own authority is added.
    #[arg(long, requires = "egress_socket")]
    trust: Option<PathBuf>,
}

/// The way out of a pod. Elsewhere the room has a socket of vault-proxy's own.
pub(super) struct WayOut {
    trust: Option<PathBuf>,
    lead: watch::Sender<Option<Arc<Lead>>>,
}

/// Where connections go, and what they show there.
struct Lead {
    address: String,
    preamble: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum WayOutError {
    #[error("the socket of the way out {} cannot be opened", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("the ticket to vault-proxy has {0} bytes")]
    Ticket(usize),
    #[error(transparent)]
    Trust(#[from] TrustError),
}

impl WayOut {
    /// Opens the socket; what comes there waits until it is known where it leads. `None` where the room has another way.
    pub(super) fn open(openings: Openings) -> Result<Option<Self>, WayOutError> {
        let Some(path) = openings.egress_socket else { return Ok(None) };
        let failed = |source| WayOutError::Open { path: path.clone(), source };
        let listener = listen(&path).map_err(failed)?;
        let (lead, known) = watch::channel(None);
        tokio::spawn(serve(listener, known));
        Ok(Some(Self { trust: openings.trust, lead }))
    }

    /// From now on connections lead there, and the room trusts what vault-proxy says in the name of others. Those under way stay.
    pub(super) fn lead_to(&self, way: &link::WayOut) -> Result<(), WayOutError> {
        if way.ticket.len() != TICKET_BYTES {
            return Err(WayOutError::Ticket(way.ticket.len()));
        }
        if let Some(file) = &self.trust {
            trust::add(file, &way.ca_certificate_pem)?;
        }
        let preamble = [GREETING, &way.ticket].concat();
        self.lead.send_replace(Some(Arc::new(Lead { address: way.address.clone(), preamble })));
        Ok(())
    }
}

/// The room's user has this process's group in common with it.
fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Until `supervise` ends.
async fn serve(listener: UnixListener, lead: watch::Receiver<Option<Arc<Lead>>>) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((inside, _)) => {
                let lead = lead.clone();
                tokio::spawn(async move {
                    if let Err(error) = carry(inside, lead).await {
                        let error = &error as &dyn std::error::Error;
                        tracing::debug!(error, "a connection to vault-proxy broke");
                    }
                    drop(place);
                });
            }
            // Out of descriptors: the connections under way give theirs back.
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "accept failed");
                sleep(RETRY).await;
            }
        }
    }
}

async fn carry(
    mut inside: UnixStream,
    mut lead: watch::Receiver<Option<Arc<Lead>>>,
) -> io::Result<()> {
    let (mut outside, lead) = connect(&mut lead).await?;
    outside.write_all(&lead.preamble).await?;
    tokio::io::copy_bidirectional_with_sizes(&mut inside, &mut outside, CHUNK, CHUNK).await?;
    Ok(())
}

async fn connect(
    lead: &mut watch::Receiver<Option<Arc<Lead>>>,
) -> io::Result<(TcpStream, Arc<Lead>)> {
    let deadline = Instant::now() + PATIENCE;
    timeout_at(deadline, lead.wait_for(Option::is_some)).await?.map_err(io::Error::other)?;
    loop {
        let Some(current) = lead.borrow().clone() else { return Err(io::ErrorKind::Other.into()) };
        match timeout_at(deadline, TcpStream::connect(&current.address)).await? {
            Ok(stream) => {
                prepare(&stream)?;
                return Ok((stream, current));
            }
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => sleep(RETRY).await,
        }
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    // Each token is a small write of its own.
    stream.set_nodelay(true)?;
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &SILENT_SECONDS)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &PROBE_SECONDS)?;
    setsockopt(stream, sockopt::TcpKeepCount, &PROBES)?;
    Ok(())
}
