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
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::door::{Door, DoorEnd, listen};
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

struct OpenDoor {
    path: PathBuf,
    /// Which file at that path is this door's: another replica may have put its own there.
    inode: Option<u64>,
    /// What its sandbox has to trust, as PEM.
    certificate: String,
    end: DoorEnd,
}

impl OpenDoor {
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
        if let Some(door) = open.get(&sandbox)
            && door.path == path
            && door.is_in_place()
        {
            return Ok(door.certificate.clone());
        }
        let Shared { house, user, tasks, closing, listening, .. } = &*self.shared;
        let authority = house.authority(sandbox, path)?;
        let certificate = authority.certificate_pem().to_owned();
        let listener = listen(path, *user)?;
        let inode = inode_of(path);
        let (closed, retired) = (CancellationToken::new(), closing.child_token());
        let underway = Underway::new(retired.clone());
        let way = Way::new(sandbox, &house.surroundings, authority, underway.clone());
        let door = Door::new(sandbox, house.models.clone(), way, underway);
        let end = DoorEnd { closed, retired };
        tasks.spawn("door", door.serve(listener, listening.token(), end.clone()));
        let opened =
            OpenDoor { path: path.to_owned(), inode, certificate: certificate.clone(), end };
        if let Some(before) = open.insert(sandbox, opened) {
            before.end.retired.cancel();
        }
        tracing::info!(sandbox.id = %sandbox, "way out opened");
        Ok(certificate)
    }

    /// Closes a sandbox's way out and cuts what is under way. One that is not open stays so.
    pub fn close(&self, sandbox: SandboxId) {
        let Some(door) = self.lock().remove(&sandbox) else { return };
        door.end.closed.cancel();
        if door.is_in_place() {
            let _removed_with_its_folder = fs::remove_file(&door.path);
        }
        tracing::info!(sandbox.id = %sandbox, "way out closed");
    }

    /// Ends doors that lead nowhere: their socket is gone, because another replica was told to close them, or another replica has put
    /// its own in its place.
    pub fn sweep(&self) {
        self.lock().retain(|_, door| {
            let is_in_place = door.is_in_place();
            if !is_in_place {
                let is_replaced = door.path.exists();
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
    fn authority(&self, sandbox: SandboxId, path: &Path) -> Result<Authority, AuthorityError> {
        let trusted = fs::read_to_string(path.with_file_name(TRUSTED)).ok();
        let Surroundings { outside, clock, .. } = &self.surroundings;
        let (provider, clock) = (outside.provider(), clock.clone());
        Authority::new(&self.keys, sandbox, trusted.as_deref(), provider, clock)
    }
}

fn inode_of(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.ino())
}
