//! What runs sandboxes: the seam between this service and a machine or a cluster.

pub mod local;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use futures::future::BoxFuture;
use platform_core::environment::Resources;
use platform_core::harness::Manifest;
use platform_core::id::{SandboxId, SessionId, TurnId};
use secrecy::SecretString;
use serde_json::Value;
use uuid::Uuid;

use crate::snapshots::{Kept, SnapshotError};

/// Everything a backend must know to start one sandbox. A sandbox starts knowing only where to dial and who it is.
#[derive(Debug)]
pub struct StartOrder {
    pub sandbox: SandboxId,
    /// Whose workspace it works on. `None`: a new one, until a session claims the sandbox.
    pub session: Option<SessionId>,
    pub resources: Resources,
    pub harness: Manifest,
    /// What its sandbox-agent shows on the link.
    pub token: SecretString,
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
    /// Makes what must exist before vault-proxy can listen and [`SandboxBackend::start`] can start.
    fn prepare(&self, order: &StartOrder) -> Result<(), BackendError>;

    /// Starts a prepared sandbox. It dials the link by itself.
    fn start<'a>(&'a self, order: &'a StartOrder) -> BoxFuture<'a, Result<(), BackendError>>;

    /// Ends a sandbox and removes all of it but the workspace. Answers only when nothing of it runs any more.
    fn stop(&self, sandbox: SandboxId) -> BoxFuture<'_, Result<(), BackendError>>;

    /// Takes a sandbox over that another process started. `false`: nothing of it runs, or only a part.
    fn adopt(&self, sandbox: SandboxId) -> bool;

    /// Resolves when the sandbox has ended by itself; at once for one that is unknown.
    fn ended(&self, sandbox: SandboxId) -> BoxFuture<'_, Ended>;

    /// Whether all of the sandbox runs, whoever started it.
    fn is_running(&self, sandbox: SandboxId) -> bool;

    /// What there is of sandboxes and workspaces on this machine. What cannot be listed is absent. Blocks.
    fn held(&self) -> Held;

    /// Whether the session has files already, so that no fresh sandbox may take its place.
    fn has_workspace(&self, session: SessionId) -> bool;

    /// Makes a claimed sandbox's files those of its session.
    fn adopt_workspace(&self, sandbox: SandboxId, session: SessionId) -> Result<(), BackendError>;

    /// Removes a session's files for good.
    fn remove_workspace(&self, session: SessionId) -> BoxFuture<'_, Result<(), BackendError>>;

    /// Keeps a session's files as they are now, as those at the end of a turn. A failure leaves nothing of the turn.
    fn take_snapshot(
        &self,
        session: SessionId,
        turn: TurnId,
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

    /// The sandbox's socket to vault-proxy.
    fn egress_socket(&self, sandbox: SandboxId) -> PathBuf;

    /// Bytes on disk that a sandbox takes, with its workspace. Blocks.
    fn used_disk_bytes(&self, sandbox: SandboxId, session: Option<SessionId>) -> u64;

    /// Which limits are enforced and how, for logs and notes.
    fn limits(&self) -> Value;
}
