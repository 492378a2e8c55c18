//! All ways out that are open now.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use platform_core::id::SandboxId;
use platform_runtime::lifecycle::Tasks;
use platform_sealing::EncryptionKeys;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::door::{Arrivals, Door, DoorEnd, listen};
use crate::model::Models;
use crate::proxy::authority::{Authority, AuthorityError};
use crate::proxy::{Surroundings, Underway, Way};

/// The open doors of this process. Cheap to clone.
#[derive(Clone)]
pub struct Doors {
    shared: Arc<Shared>,
}

/// Where sandbox-service puts the certificate that a sandbox trusts, beside the sandbox's socket.
const TRUSTED: &str = "ca.pem";

/// Connections from the gate that may wait for a place at their door.
const WAITING: usize = 256;

/// What lies behind every door.
pub struct House {
    pub models: Arc<Models>,
    pub surroundings: Surroundings,
    pub keys: EncryptionKeys,
}

/// A way out could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("its socket cannot be listened at")]
    Socket(#[from] io::Error),
    #[error("its certificate authority cannot be made")]
    Authority(#[from] AuthorityError),
}

struct Shared {
    house: House,
    /// Who may connect, when this process is root.
    user: Option<u32>,
    tasks: Tasks,
    closing: CancellationToken,
    /// The doors that take connections.
    listening: TaskTracker,
    open: Mutex<BTreeMap<SandboxId, OpenDoor>>,
}

/// Why a connection was not handed in at a door.
#[derive(Debug, thiserror::Error)]
pub enum HandInError {
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error("the doors are being closed")]
    Closing,
    #[error("too many connections wait at its door")]
    Full,
}

struct OpenDoor {
    place: Place,
    end: DoorEnd,
}

/// Where a door is.
enum Place {
    Socket(Socket),
    /// Behind the gate, where every replica has one of its own for each sandbox that comes to it.
    Gate(mpsc::Sender<TcpStream>),
}

struct Socket {
    path: PathBuf,
    /// Which file at that path is this door's: another replica may have put its own there.
    inode: Option<u64>,
    /// What its sandbox has to trust, as PEM.
    certificate: String,
}

impl Socket {
    fn is_in_place(&self) -> bool {
        self.inode.is_some() && inode_of(&self.path) == self.inode
    }
}

impl Doors {
    /// `closing` retires all of them.
    pub fn new(house: House, user: Option<u32>, tasks: Tasks, closing: CancellationToken) -> Self {
        let (open, listening) = (Mutex::default(), TaskTracker::new());
        Self { shared: Arc::new(Shared { house, user, tasks, closing, listening, open }) }
    }

    /// Whether no door is opened any more.
    pub fn are_closing(&self) -> bool {
        self.shared.closing.is_cancelled()
    }

    /// Resolves when, after `closing`, none of the doors takes connections any more: from then on another replica may open them.
    pub async fn all_retired(&self) {
        self.shared.closing.cancelled().await;
        self.shared.listening.close();
        self.shared.listening.wait().await;
    }

    /// Opens a sandbox's way out and answers what the sandbox has to trust. One that is open at that path already stays as it is.
    pub fn open(&self, sandbox: SandboxId, path: &Path) -> Result<String, OpenError> {
        let mut open = self.lock();
        if let Some(OpenDoor { place: Place::Socket(socket), .. }) = open.get(&sandbox)
            && socket.path == path
            && socket.is_in_place()
        {
            return Ok(socket.certificate.clone());
        }
        let trusted = fs::read_to_string(path.with_file_name(TRUSTED)).ok();
        let authority = self.shared.house.authority(sandbox, trusted.as_deref())?;
        let certificate = authority.certificate_pem().to_owned();
        let listener = listen(path, self.shared.user)?;
        let (path, inode) = (path.to_owned(), inode_of(path));
        let end = self.serve(sandbox, authority, listener.into());
        let place = Place::Socket(Socket { path, inode, certificate: certificate.clone() });
        if let Some(before) = open.insert(sandbox, OpenDoor { place, end }) {
            before.end.retired.cancel();
        }
        tracing::info!(sandbox.id = %sandbox, "way out opened");
        Ok(certificate)
    }

    /// What a sandbox has to trust whose connections come through the gate.
    pub fn certificate_of(&self, sandbox: SandboxId) -> Result<String, OpenError> {
        let authority = self.shared.house.authority(sandbox, None)?;
        Ok(authority.certificate_pem().to_owned())
    }

    /// Hands a connection in that came through the gate with the sandbox's ticket. Its door is opened when it is needed first; `trusted`
    /// is then what the sandbox is known to trust.
    pub fn hand_in(
        &self,
        sandbox: SandboxId,
        trusted: Option<&str>,
        connection: TcpStream,
    ) -> Result<(), HandInError> {
        if self.are_closing() {
            return Err(HandInError::Closing);
        }
        let mut open = self.lock();
        let connection = match open.get(&sandbox) {
            Some(OpenDoor { place: Place::Gate(waiting), .. }) => {
                match waiting.try_send(connection) {
                    Ok(()) => return Ok(()),
                    Err(mpsc::error::TrySendError::Full(_)) => return Err(HandInError::Full),
                    Err(mpsc::error::TrySendError::Closed(connection)) => connection,
                }
            }
            Some(OpenDoor { place: Place::Socket(_), .. }) | None => connection,
        };
        let authority = self.shared.house.authority(sandbox, trusted)?;
        let (waiting, arrivals) = mpsc::channel(WAITING);
        waiting.try_send(connection).map_err(|_full| HandInError::Full)?;
        let end = self.serve(sandbox, authority, arrivals.into());
        let door = OpenDoor { place: Place::Gate(waiting), end };
        if let Some(before) = open.insert(sandbox, door) {
            before.end.retired.cancel();
        }
        tracing::info!(sandbox.id = %sandbox, "way out opened behind the gate");
        Ok(())
    }

    /// The sandboxes whose doors are behind the gate.
    pub fn behind_the_gate(&self) -> Vec<SandboxId> {
        let open = self.lock();
        let behind = open.iter().filter(|(_, door)| match door.place {
            Place::Gate(_) => true,
            Place::Socket(_) => false,
        });
        behind.map(|(sandbox, _)| *sandbox).collect()
    }

    fn serve(&self, sandbox: SandboxId, authority: Authority, arrivals: Arrivals) -> DoorEnd {
        let Shared { house, tasks, closing, listening, .. } = &*self.shared;
        let (closed, retired) = (CancellationToken::new(), closing.child_token());
        let underway = Underway::new(retired.clone());
        let way = Way::new(sandbox, &house.surroundings, authority, underway.clone());
        let door = Door::new(sandbox, house.models.clone(), way, underway);
        let end = DoorEnd { closed, retired };
        tasks.spawn("door", door.serve(arrivals, listening.token(), end.clone()));
        end
    }

    /// Closes a sandbox's way out and cuts what is under way. One that is not open stays so.
    pub fn close(&self, sandbox: SandboxId) {
        let Some(door) = self.lock().remove(&sandbox) else { return };
        door.end.closed.cancel();
        match door.place {
            Place::Socket(socket) if socket.is_in_place() => {
                let _removed_with_its_folder = fs::remove_file(&socket.path);
            }
            Place::Socket(_) | Place::Gate(_) => {}
        }
        tracing::info!(sandbox.id = %sandbox, "way out closed");
    }

    /// Ends doors that lead nowhere: their socket is gone, because another replica was told to close them, or another replica has put
    /// its own in its place.
    pub fn sweep(&self) {
        self.lock().retain(|_, door| {
            let Place::Socket(socket) = &door.place else { return true };
            let is_in_place = socket.is_in_place();
            if !is_in_place {
                let is_replaced = socket.path.exists();
                let end = if is_replaced { &door.end.retired } else { &door.end.closed };
                end.cancel();
            }
            is_in_place
        });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SandboxId, OpenDoor>> {
        self.shared.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl House {
    fn authority(
        &self,
        sandbox: SandboxId,
        trusted: Option<&str>,
    ) -> Result<Authority, AuthorityError> {
        let Surroundings { outside, clock, .. } = &self.surroundings;
        let (provider, clock) = (outside.provider(), clock.clone());
        Authority::new(&self.keys, sandbox, trusted, provider, clock)
    }
}

fn inode_of(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.ino())
}
