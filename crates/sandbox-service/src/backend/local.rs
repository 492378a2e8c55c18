//! Sandboxes as bubblewrap processes on this machine.

mod disk;
mod folders;
mod graft;
pub mod launcher;
pub mod layout;
mod leftover;
pub mod limits;
pub mod network;
pub mod process;
pub mod process_limits;
mod removal;
pub mod room;
mod running;
mod seccomp;
mod snapshot;
mod trust;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use platform_core::harness::Manifest;
use platform_core::id::{SandboxId, SessionId, TurnId};
use platform_core::sandbox::Backend;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::kubernetes::Pods;
use super::{BackendError, DiskSpace, Ended, Held, SandboxBackend, StartOrder, WayOut};
use crate::planted::Lookout;
use crate::snapshots::{Kept, SnapshotError, SnapshotLimits};
use folders::{make_folder, remove_folder, write_private, write_system_files};
pub use graft::GraftError;
use graft::Grafts;
use layout::{Layout, WorkspaceFolders};
use limits::Limits;
use network::Networks;
use room::Rooms;
use running::Running;

/// Where the local backend finds its parts.
#[derive(Debug, Clone)]
pub struct LocalSettings {
    pub data: PathBuf,
    /// The program `sandbox-agent`.
    pub agent_binary: PathBuf,
    /// Holds `<name>-<version>` for each installed harness.
    pub harness_installs: PathBuf,
    /// Runs `launch <plan>`: this service's own program.
    pub launcher: PathBuf,
    /// The user of all sandboxes; `None` when this service is not root and cannot change it.
    pub user: Option<u32>,
}

/// The backend of one machine.
pub struct LocalBackend {
    settings: LocalSettings,
    layout: Layout,
    limits: Limits,
    networks: Networks,
    /// The certificates that this machine trusts.
    roots: String,
    snapshot_limits: SnapshotLimits,
    grafts: Grafts,
    running: Mutex<BTreeMap<SandboxId, Arc<Running>>>,
}

impl LocalBackend {
    /// Makes the data directory and probes what the kernel enforces.
    pub fn open(settings: LocalSettings) -> Result<Self, BackendError> {
        let layout = Layout::new(&settings.data);
        let user = settings.user;
        for folder in [layout.root().to_owned(), layout.sandboxes(), layout.workspaces()] {
            make_folder(&folder, 0o711, None).map_err(BackendError::disk("making a folder"))?;
        }
        make_replicas_folders(&layout)?;
        write_system_files(&layout, user).map_err(BackendError::disk("writing system files"))?;
        let networks = Networks::probe(&settings.launcher);
        Ok(Self {
            grafts: Grafts::probe(layout.root(), user),
            settings,
            layout,
            limits: Limits::probe(),
            networks,
            roots: trust::roots(Path::new(trust::SYSTEM_BUNDLE)),
            snapshot_limits: SnapshotLimits::default(),
            running: Mutex::default(),
        })
    }

    #[must_use]
    pub fn with_snapshot_limits(mut self, limits: SnapshotLimits) -> Self {
        self.snapshot_limits = limits;
        self
    }

    /// Takes the certificates that sandboxes trust from another file than the system's.
    #[must_use]
    pub fn with_root_certificates(mut self, file: &Path) -> Self {
        self.roots = trust::roots(file);
        self
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    pub fn user(&self) -> Option<u32> {
        self.settings.user
    }

    fn harness_install(&self, harness: &Manifest) -> Result<PathBuf, BackendError> {
        let folder =
            self.settings.harness_installs.join(format!("{}-{}", harness.name, harness.version));
        if folder.is_dir() {
            return Ok(folder);
        }
        Err(BackendError::HarnessMissing {
            name: harness.name.to_string(),
            version: harness.version.clone(),
            folder: self.settings.harness_installs.clone(),
        })
    }

    fn workspace_of(&self, sandbox: SandboxId, session: Option<SessionId>) -> WorkspaceFolders {
        match session {
            Some(session) => self.layout.workspace(session),
            None => self.layout.workspace(sandbox),
        }
    }

    fn make_folders(&self, order: &StartOrder) -> io::Result<()> {
        let user = self.settings.user;
        let workspace = self.workspace_of(order.sandbox, order.session);
        make_workspace(&workspace, user)?;
        let sandbox = self.layout.sandbox(order.sandbox);
        make_folder(sandbox.root(), 0o711, None)?;
        make_folder(&sandbox.room(), 0o700, user)?;
        make_folder(&sandbox.egress(), 0o711, None)?;
        let identity = json!({
            "sandbox_id": order.sandbox.uuid().to_string(),
            "token": order.token.expose_secret(),
        });
        write_private(&sandbox.identity(), &identity.to_string(), user)
    }

    async fn start_rooms(&self, order: &StartOrder) -> Result<(), BackendError> {
        let harness_install = self.harness_install(&order.harness)?;
        let sandbox = self.layout.sandbox(order.sandbox);
        let workspace = self.workspace_of(order.sandbox, order.session);
        let cgroups = self
            .limits
            .prepare(order.sandbox, &order.resources)
            .map_err(BackendError::disk("making the sandbox's cgroups"))?;
        let rooms = Rooms {
            layout: &self.layout,
            sandbox: &sandbox,
            workspace: &workspace,
            agent_binary: &self.settings.agent_binary,
            harness_install: &harness_install,
            user: self.settings.user,
            network: self.networks.kind(),
            limits: self.limits.of_processes(&order.resources),
            filters_system_calls: self.limits.filters_system_calls(),
            cgroups,
        };
        let running = Running::launch(&self.settings.launcher, &sandbox, &rooms).await?;
        self.remember(order.sandbox, running);
        Ok(())
    }

    async fn end(&self, sandbox: SandboxId) -> Result<(), BackendError> {
        let folder = self.layout.sandbox(sandbox);
        let running = self.known(sandbox).unwrap_or_else(|| Arc::new(Running::find(&folder)));
        running.end().await?;
        running::end_launchers(&folder).await?;
        running::end_strays(&self.limits.processes_of(sandbox)).await?;
        self.limits.remove(sandbox);
        remove_folder(folder.root().to_owned()).await?;
        // Of a warm sandbox that nobody claimed. A claimed one's files bear the session's name by now.
        remove_folder(self.layout.workspace(sandbox).root).await?;
        self.lock().remove(&sandbox);
        Ok(())
    }

    async fn wait_for_end(&self, sandbox: SandboxId) -> Ended {
        let Some(running) = self.known(sandbox) else {
            return Ended {
                reason: "exited",
                message: "the sandbox's processes are gone".to_owned(),
            };
        };
        let (room, status) = running.first_end().await;
        let folder = self.layout.sandbox(sandbox);
        let last_lines = disk::last_lines(&folder.log(room), 50);
        let (reason, cause) = if self.limits.ran_out_of_memory(sandbox) {
            (
                "out_of_memory",
                "it used up its memory; give its environment more memory_mib".to_owned(),
            )
        } else {
            ("exited", status)
        };
        let room = room.as_word();
        let message = format!("the sandbox ended ({room}: {cause})");
        let message = if last_lines.is_empty() {
            message
        } else {
            format!("{message}. Its last lines:\n{last_lines}")
        };
        Ended { reason, message }
    }

    fn known(&self, sandbox: SandboxId) -> Option<Arc<Running>> {
        self.lock().get(&sandbox).cloned()
    }

    fn remember(&self, sandbox: SandboxId, running: Running) {
        self.lock().insert(sandbox, Arc::new(running));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<SandboxId, Arc<Running>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SandboxBackend for LocalBackend {
    fn name(&self) -> Backend {
        Backend::Local
    }

    fn prepare(&self, order: &StartOrder) -> Result<(), BackendError> {
        self.harness_install(&order.harness)?;
        self.make_folders(order).map_err(BackendError::disk("making the sandbox's folders"))
    }

    fn trust(&self, sandbox: SandboxId, authority: &str) -> Result<(), BackendError> {
        trust::write(&self.layout.sandbox(sandbox), &self.roots, authority)
            .map_err(BackendError::disk("writing the sandbox's certificates"))
    }

    fn start<'a>(&'a self, order: &'a StartOrder) -> BoxFuture<'a, Result<(), BackendError>> {
        Box::pin(self.start_rooms(order))
    }

    fn stop(&self, sandbox: SandboxId) -> BoxFuture<'_, Result<(), BackendError>> {
        Box::pin(self.end(sandbox))
    }

    fn kill(&self, sandbox: SandboxId) {
        let found = || Arc::new(Running::find(&self.layout.sandbox(sandbox)));
        self.known(sandbox).unwrap_or_else(found).kill_harness();
    }

    fn adopt(&self, sandbox: SandboxId) -> bool {
        if let Some(known) = self.known(sandbox) {
            return known.is_alive();
        }
        let running = Running::find(&self.layout.sandbox(sandbox));
        let is_alive = running.is_alive();
        if is_alive {
            self.remember(sandbox, running);
        }
        is_alive
    }

    fn ended(&self, sandbox: SandboxId) -> BoxFuture<'_, Ended> {
        Box::pin(self.wait_for_end(sandbox))
    }

    fn is_running(&self, sandbox: SandboxId) -> bool {
        match self.known(sandbox) {
            Some(known) => known.is_alive(),
            None => Running::find(&self.layout.sandbox(sandbox)).is_alive(),
        }
    }

    fn held(&self) -> Held {
        leftover::held(&self.layout, &self.limits)
    }

    fn has_workspace(&self, session: SessionId) -> bool {
        self.layout.workspace(session).root.exists()
    }

    fn can_graft(&self) -> bool {
        self.grafts.are_possible()
    }

    fn adopt_workspace(
        &self,
        sandbox: SandboxId,
        session: SessionId,
    ) -> BoxFuture<'_, Result<(), BackendError>> {
        Box::pin(graft::adopt(self, sandbox, session))
    }

    fn remove_workspace(&self, session: SessionId) -> BoxFuture<'_, Result<(), BackendError>> {
        Box::pin(async move {
            remove_folder(self.layout.restoring(session)).await?;
            remove_folder(self.layout.workspace(session).root).await
        })
    }

    fn take_snapshot(
        &self,
        session: SessionId,
        turn: TurnId,
        lookout: Arc<Lookout>,
    ) -> BoxFuture<'_, Result<Kept, SnapshotError>> {
        Box::pin(snapshot::take(self, session, turn, lookout))
    }

    fn snapshot_within(&self) -> Duration {
        self.snapshot_limits.within
    }

    fn restore_snapshot(
        &self,
        session: SessionId,
        source: SessionId,
        turn: TurnId,
    ) -> BoxFuture<'_, Result<(), BackendError>> {
        Box::pin(snapshot::restore(self, session, source, turn))
    }

    fn way_out(&self, sandbox: SandboxId) -> WayOut {
        WayOut::Socket(self.layout.sandbox(sandbox).egress_socket())
    }

    fn keeps_snapshots(&self) -> bool {
        true
    }

    fn keeps_warm_pools(&self) -> bool {
        true
    }

    fn pods(&self) -> Option<&Pods> {
        None
    }

    fn used_disk(
        &self,
        sandbox: SandboxId,
        session: Option<SessionId>,
        allowed: DiskSpace,
    ) -> DiskSpace {
        let workspace = self.workspace_of(sandbox, session);
        let own = self.layout.sandbox(sandbox).root().to_owned();
        // Without what is kept of earlier turns, which the session cannot help.
        let folders = [workspace.workspace, workspace.home, workspace.journal, own];
        disk::used(&folders, &self.limits.processes_of(sandbox), allowed)
    }

    fn free_disk(&self) -> Option<DiskSpace> {
        disk::free(self.layout.root())
    }

    fn limits(&self) -> Value {
        let mut report = json!(self.limits.report());
        if let Some(report) = report.as_object_mut() {
            report.insert("network".to_owned(), self.networks.report().into());
        }
        report
    }
}

/// Makes where replicas of this service leave their marks and listen.
pub fn make_replicas_folders(layout: &Layout) -> Result<(), BackendError> {
    make_folder(&layout.replicas(), 0o700, None).map_err(BackendError::disk("making a folder"))?;
    make_folder(&layout.links(), 0o755, None).map_err(BackendError::disk("making a folder"))
}

/// Also puts right what a session's agent may have done to them.
fn make_workspace(folders: &WorkspaceFolders, user: Option<u32>) -> io::Result<()> {
    make_folder(&folders.root, 0o711, None)?;
    for folder in [&folders.workspace, &folders.home, &folders.journal] {
        make_folder(folder, 0o700, user)?;
    }
    Ok(())
}
