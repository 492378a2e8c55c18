//! Makes a claimed sandbox work on its session's files: on those it was started with, or, when the session had files before, on these,
//! which then take the place of the others in rooms that run already.

mod mounts;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use platform_core::id::{SandboxId, SessionId};
use rustix::fs::{FlockOperation, flock};
use serde::Deserialize;

use super::layout::{Room, SandboxFolder, WorkspaceFolders};
use super::room::Mount;
use super::running::read_number;
use super::{BackendError, LocalBackend, SandboxBackend, make_workspace};
use mounts::{Exchange, RoomMounts};

/// The harness's room first: once the journal is the session's, all is.
const ORDER: [Room; 2] = [Room::Harness, Room::Supervise];

#[derive(Debug, thiserror::Error)]
#[error("{what} failed")]
pub struct GraftError {
    what: &'static str,
    source: io::Error,
}

impl GraftError {
    fn in_mounting(what: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self { what, source: errno.into() }
    }

    fn at(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { what, source }
    }
}

/// Whether the mounts of rooms that run can be exchanged on this machine.
#[derive(Debug)]
pub(super) struct Grafts {
    are_possible: AtomicBool,
}

impl Grafts {
    /// Finds out by trying. Without a user of their own for sandboxes this service is not root, and cannot.
    pub(super) fn probe(data: &Path, user: Option<u32>) -> Self {
        let probed = user.map(|_| mounts::probe(data));
        if let Some(Err(error)) = &probed {
            let error = error as &dyn std::error::Error;
            tracing::warn!(error, "sessions that have files cannot claim warm sandboxes here");
        }
        Self { are_possible: AtomicBool::new(matches!(probed, Some(Ok(())))) }
    }

    pub(super) fn are_possible(&self) -> bool {
        self.are_possible.load(Ordering::Relaxed)
    }
}

/// What has to be known to give a sandbox its session's files.
struct Adoption {
    sandbox: SandboxFolder,
    /// With which it was started, and which nobody needs once it has others.
    own: WorkspaceFolders,
    files: WorkspaceFolders,
    user: Option<u32>,
}

/// The part of a room's plan that tells what lies where in it.
#[derive(Deserialize)]
struct Plan {
    mounts: Vec<Mount>,
}

/// May be repeated, also while it is under way. After a failure the sandbox is of no use to any session.
pub(super) async fn adopt(
    backend: &LocalBackend,
    sandbox: SandboxId,
    session: SessionId,
) -> Result<(), BackendError> {
    let adoption = Adoption {
        sandbox: backend.layout.sandbox(sandbox),
        own: backend.layout.workspace(sandbox),
        files: backend.layout.workspace(session),
        user: backend.settings.user,
    };
    let adopting = tokio::task::spawn_blocking(move || adoption.carry_out());
    let adopted = adopting.await.map_err(io::Error::other);
    let outcome = adopted.map_err(BackendError::disk("adopting a workspace"))?;
    if matches!(outcome, Err(BackendError::Graft(_))) && backend.is_running(sandbox) {
        // It would be the same with every other sandbox.
        tracing::warn!("sessions that have files claim no more warm sandboxes here");
        backend.grafts.are_possible.store(false, Ordering::Relaxed);
    }
    outcome
}

impl Adoption {
    fn carry_out(&self) -> Result<(), BackendError> {
        let locking = || BackendError::disk("locking the sandbox's folder");
        let folder = File::open(self.sandbox.root()).map_err(locking())?;
        flock(&folder, FlockOperation::LockExclusive).map_err(|errno| locking()(errno.into()))?;
        if !self.files.root.exists() {
            // The mounts of the running sandbox follow the folder, not its name.
            return fs::rename(&self.own.root, &self.files.root)
                .map_err(BackendError::disk("renaming the workspace"));
        }
        if !self.own.root.exists() {
            // It was renamed, or exchanged and removed.
            return Ok(());
        }
        make_workspace(&self.files, self.user)
            .map_err(BackendError::disk("making the workspace's folders"))?;
        let rooms = ORDER.map(|room| self.mounts_of(room));
        let [harness, supervise] = rooms;
        mounts::exchange([harness?, supervise?])?;
        // Nothing is mounted there any more, and a process that still works in there can make no more files.
        if let Err(error) = fs::remove_dir_all(&self.own.root) {
            let error = &error as &dyn std::error::Error;
            tracing::debug!(error, "a warm sandbox's first files go when it ends");
        }
        Ok(())
    }

    /// Whatever the room has of the sandbox's own files is the session's from now on.
    fn mounts_of(&self, room: Room) -> Result<RoomMounts, GraftError> {
        let text = fs::read(self.sandbox.plan(room)).map_err(GraftError::at("reading a plan"))?;
        let plan: Plan = serde_json::from_slice(&text)
            .map_err(|e| GraftError::at("reading a plan")(e.into()))?;
        let of_files = |mount: Mount| {
            let inside = mount.source.strip_prefix(&self.own.root).ok()?;
            let new = self.files.root.join(inside);
            Some(Exchange { old: mount.source.clone(), new, target: PathBuf::from(mount.target) })
        };
        let gone = || GraftError::at("finding a room")(io::ErrorKind::NotFound.into());
        let pid = read_number(&self.sandbox.pid_file(room)).and_then(|pid| pid.try_into().ok());
        Ok(RoomMounts {
            pid: pid.ok_or_else(gone)?,
            began: read_number(&self.sandbox.began_file(room)).ok_or_else(gone)?,
            exchanges: plan.mounts.into_iter().filter_map(of_files).collect(),
        })
    }
}
