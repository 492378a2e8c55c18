//! All ways out that are open now.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use platform_core::id::SandboxId;
use platform_runtime::lifecycle::Tasks;
use tokio_util::sync::CancellationToken;

use crate::door::{Door, listen};
use crate::forward::Gateway;
use crate::owner::Owners;

/// How often doors are looked for whose sandbox has vanished.
const SWEEP_PERIOD: Duration = Duration::from_mins(1);

/// The open doors of this process. Cheap to clone.
#[derive(Clone)]
pub struct Doors {
    shared: Arc<Shared>,
}

struct Shared {
    owners: Arc<dyn Owners>,
    gateway: Gateway,
    /// Who may connect, when this process is root.
    user: Option<u32>,
    tasks: Tasks,
    closing: CancellationToken,
    open: Mutex<BTreeMap<SandboxId, OpenDoor>>,
}

struct OpenDoor {
    path: PathBuf,
    closed: CancellationToken,
}

impl Doors {
    /// `closing` closes all of them.
    pub fn new(
        owners: Arc<dyn Owners>,
        gateway: Gateway,
        user: Option<u32>,
        tasks: Tasks,
        closing: CancellationToken,
    ) -> Self {
        let open = Mutex::default();
        Self { shared: Arc::new(Shared { owners, gateway, user, tasks, closing, open }) }
    }

    /// Opens a sandbox's way out. One that is open at that path already stays as it is.
    pub fn open(&self, sandbox: SandboxId, path: &Path) -> io::Result<()> {
        let mut open = self.lock();
        if open.get(&sandbox).is_some_and(|door| door.path == path && door.path.exists()) {
            return Ok(());
        }
        let listener = listen(path, self.shared.user)?;
        let closed = self.shared.closing.child_token();
        let door = Door::new(sandbox, self.shared.owners.clone(), self.shared.gateway.clone());
        self.shared.tasks.spawn("door", door.serve(listener, closed.clone()));
        let before = open.insert(sandbox, OpenDoor { path: path.to_owned(), closed });
        if let Some(before) = before {
            before.closed.cancel();
        }
        tracing::info!(sandbox.id = %sandbox, "way out opened");
        Ok(())
    }

    /// Closes a sandbox's way out and cuts what is under way. One that is not open stays so.
    pub fn close(&self, sandbox: SandboxId) {
        let Some(door) = self.lock().remove(&sandbox) else { return };
        door.closed.cancel();
        let _removed_with_its_folder = fs::remove_file(&door.path);
        tracing::info!(sandbox.id = %sandbox, "way out closed");
    }

    /// Closes, from time to time, doors whose socket is gone: another replica was told to close them.
    pub async fn sweep(self) {
        loop {
            tokio::select! {
                () = self.shared.closing.cancelled() => return,
                () = tokio::time::sleep(SWEEP_PERIOD) => {}
            }
            self.lock().retain(|_, door| {
                let exists = door.path.exists();
                if !exists {
                    door.closed.cancel();
                }
                exists
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SandboxId, OpenDoor>> {
        self.shared.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
