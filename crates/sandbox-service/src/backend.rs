//! What runs sandboxes: the seam between this service and a machine or a cluster.

pub mod kubernetes;
pub mod local;
mod programs;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use platform_core::environment::Resources;
use platform_core::harness::Manifest;
use platform_core::id::{EnvironmentId, SandboxId, SessionId, TeamId, TurnId};
use platform_core::sandbox::Backend;
use secrecy::SecretString;
use serde_json::Value;
use uuid::Uuid;

use crate::planted::Lookout;
use crate::snapshots::{Kept, SnapshotError};

/// Everything a backend must know to start one sandbox. A sandbox starts knowing only where to dial and who it is.
#[derive(Debug)]
pub struct StartOrder {
    pub sandbox: SandboxId,
    /// `None` while no session has claimed it.
    pub team: Option<TeamId>,
    pub environment: EnvironmentId,
    /// Whose workspace it works on. `None`: a new one, until a session claims the sandbox.
    pub session: Option<SessionId>,
    /// In place of the harness's own image, where images are known.
    pub image: Option<String>,
    pub resources: Resources,
    /// How many sandboxes like this one are to wait for sessions, where the backend keeps them.
    pub warm_pool_size: u32,
    pub harness: Manifest,
    /// What its sandbox-agent shows on the link.
    pub token: SecretString,
}

/// Where a sandbox finds vault-proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WayOut {
    /// At a socket of its own, which is there before the sandbox is.
    Socket(PathBuf),
    /// At an address that all share. It shows whose it is by a ticket, which its link brings along with what it has to trust.
    Ticket(SocketAddr),
}

/// How a sandbox came to its end without being told to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Stable word, as in `ReportLoss`.
    pub reason: &'static str,
    /// A sentence for a person, with the last lines of the logs.
    pub message: String,
}

/// What a machine holds, whether anybody still wants it or not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    pub sandboxes: BTreeSet<SandboxId>,
    /// By name: a session's, or that of a sandbox which no session has claimed.
    pub workspaces: BTreeSet<Uuid>,
}

/// A part of a disk: used, left, or allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiskSpace {
    /// In blocks that are really taken: a hole takes none.
    pub bytes: u64,
    /// Files, folders and whatever else has a name.
    pub files: u64,
}

impl DiskSpace {
    /// More than any sandbox is allowed, of what cannot be measured.
    pub const BEYOND_MEASURE: Self = Self { bytes: u64::MAX, files: u64::MAX };

    pub fn exceeds(&self, allowed: Self) -> bool {
        self.bytes > allowed.bytes || self.files > allowed.files
    }
}

#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    #[error("{what} failed")]
    Disk { what: &'static str, source: std::io::Error },
    #[error("the harness {name} {version} is not installed in {folder}")]
    HarnessMissing { name: String, version: String, folder: PathBuf },
    /// Carries what the launcher said.
    #[error("the sandbox's rooms could not be built: {0}")]
    Refused(String),
    #[error("the sandbox still runs although it was killed")]
    StillAlive,
    #[error("the session's files cannot be put under the running sandbox")]
    Graft(#[from] local::GraftError),
    #[error("{what} failed")]
    Cluster { what: &'static str, source: Box<kubernetes::ClusterError> },
    #[error("there is no image for the harness {0}; name one in LAP__KUBERNETES__HARNESS_IMAGES")]
    ImageMissing(String),
    /// Carries what the cluster said about it.
    #[error("the cluster did not bring the sandbox up: {0}")]
    NotInTime(String),
    /// Carries what became of them.
    #[error("the session's files are lost: {0}")]
    WorkspaceLost(String),
    #[error("files at the end of a turn are not kept by this backend; begin a new session")]
    NoSnapshots,
    #[error("the files of session {session} at the end of turn {turn} are not kept any more")]
    SnapshotMissing { session: SessionId, turn: TurnId },
}

impl BackendError {
    fn disk(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Disk { what, source }
    }
}

/// Runs sandboxes. Every operation may be repeated.
pub trait SandboxBackend: Send + Sync + 'static {
    /// As rows name it.
    fn name(&self) -> Backend;

    /// Makes what must exist before vault-proxy can listen and [`SandboxBackend::start`] can start.
    fn prepare(&self, order: &StartOrder) -> Result<(), BackendError>;

    /// Lets the sandbox's programs trust this authority's certificates (PEM) besides those that the machine trusts.
    fn trust(&self, sandbox: SandboxId, authority: &str) -> Result<(), BackendError>;

    /// Starts a prepared sandbox. It dials the link by itself.
    fn start<'a>(&'a self, order: &'a StartOrder) -> BoxFuture<'a, Result<(), BackendError>>;

    /// Ends a sandbox and removes all of it but the workspace. Answers only when nothing of it runs any more.
    fn stop(&self, sandbox: SandboxId) -> BoxFuture<'_, Result<(), BackendError>>;

    /// Takes a sandbox over that another process started. `false`: nothing of it runs, or only a part.
    fn adopt(&self, sandbox: SandboxId) -> bool;

    /// Ends at once, and without waiting for it, whatever the agent runs. [`SandboxBackend::stop`] does the rest.
    fn kill(&self, sandbox: SandboxId);

    /// Resolves when the sandbox has ended by itself; at once for one that is unknown.
    fn ended(&self, sandbox: SandboxId) -> BoxFuture<'_, Ended>;

    /// Whether all of the sandbox runs, whoever started it.
    fn is_running(&self, sandbox: SandboxId) -> bool;

    /// What there is of sandboxes and workspaces on this machine. What cannot be listed is absent. Blocks.
    fn held(&self) -> Held;

    /// Whether the session has files already.
    fn has_workspace(&self, session: SessionId) -> bool;

    /// Whether a sandbox that runs can be given files which its session has already.
    fn can_graft(&self) -> bool;

    /// Gives a claimed sandbox the files of its session; those it was started with, if the session has none yet.
    ///
    /// After a failure the sandbox may have a part of them, so it has to go.
    fn adopt_workspace(
        &self,
        sandbox: SandboxId,
        session: SessionId,
    ) -> BoxFuture<'_, Result<(), BackendError>>;

    /// Removes a session's files for good.
    fn remove_workspace(&self, session: SessionId) -> BoxFuture<'_, Result<(), BackendError>>;

    /// Whether files at the end of a turn can be kept.
    fn keeps_snapshots(&self) -> bool;

    /// Keeps a session's files as they are now, as those at the end of a turn. A failure leaves nothing of the turn. What is read on the
    /// way goes past the lookout.
    fn take_snapshot(
        &self,
        session: SessionId,
        turn: TurnId,
        lookout: Arc<Lookout>,
    ) -> BoxFuture<'_, Result<Kept, SnapshotError>>;

    /// How long [`SandboxBackend::take_snapshot`] tries.
    fn snapshot_within(&self) -> Duration;

    /// Gives a session that has no files yet those of another one at the end of a turn.
    fn restore_snapshot(
        &self,
        session: SessionId,
        source: SessionId,
        turn: TurnId,
    ) -> BoxFuture<'_, Result<(), BackendError>>;

    /// How the sandbox reaches vault-proxy.
    fn way_out(&self, sandbox: SandboxId) -> WayOut;

    /// Whether sandboxes that nobody has claimed yet are this service's to start. A backend may keep its own.
    fn keeps_warm_pools(&self) -> bool;

    /// Who dials, where sandboxes are pods that have no token of ours.
    fn pods(&self) -> Option<&kubernetes::Pods>;

    /// What a sandbox takes on the disk, with its workspace. Counts no further than what exceeds `allowed`. Blocks.
    fn used_disk(
        &self,
        sandbox: SandboxId,
        session: Option<SessionId>,
        allowed: DiskSpace,
    ) -> DiskSpace;

    /// What is left of the disk that sandboxes write to; `None` when that cannot be told.
    fn free_disk(&self) -> Option<DiskSpace>;

    /// Which limits are enforced and how, for logs and notes.
    fn limits(&self) -> Value;
}
