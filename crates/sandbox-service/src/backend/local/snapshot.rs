//! Keeps a session's files as they are at the ends of its turns, and gives them to sessions that go on from there.

mod look;
mod restore;
mod retention;
mod store;
mod take;
#[cfg(test)]
mod tests;
mod tree;

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use platform_core::id::{SessionId, TurnId};
use rustix::fs::{Mode, OFlags, fstatvfs, open};

use super::layout::WorkspaceFolders;
use super::{BackendError, LocalBackend, make_folder};
use crate::planted::Lookout;
use crate::snapshots::{Kept, SnapshotError, SnapshotLimits};
use look::failed;
use restore::Restore;
use store::Store;
use take::{Take, these};
use tree::{Record, Tree};

/// What is left to the rest of the machine.
const LEAST_FREE_BYTES: u64 = 1 << 30;

/// Keeps a session's workspace and home as they are now, as those at the end of the turn.
pub(super) async fn take(
    backend: &LocalBackend,
    session: SessionId,
    turn: TurnId,
    lookout: Arc<Lookout>,
) -> Result<Kept, SnapshotError> {
    let (files, limits) = (backend.layout.workspace(session), backend.snapshot_limits);
    let taken = tokio::task::spawn_blocking(move || take_now(&files, turn, limits, &lookout)).await;
    taken.map_err(SnapshotError::BrokenOff)?
}

/// Gives a session that has no files yet those of `source` at the end of the turn.
pub(super) async fn restore(
    backend: &LocalBackend,
    session: SessionId,
    source: SessionId,
    turn: TurnId,
) -> Result<(), BackendError> {
    let layout = &backend.layout;
    let (from, to) = (layout.workspace(source), layout.workspace(session));
    let (beside, owner) = (layout.restoring(session), backend.settings.user);
    let restoring = move || restore_now(&from, turn, &beside, &to, owner);
    let restored = tokio::task::spawn_blocking(restoring).await.map_err(io::Error::other);
    match restored.flatten() {
        Ok(()) => Ok(()),
        // Its session was deleted, or has used up its room for snapshots.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(BackendError::SnapshotMissing { session: source, turn })
        }
        Err(error) => Err(BackendError::disk("restoring kept files")(error)),
    }
}

/// Takes the place of what was kept of the same turn before. After a failure nothing of the turn is kept.
fn take_now(
    files: &WorkspaceFolders,
    turn: TurnId,
    limits: SnapshotLimits,
    lookout: &Lookout,
) -> Result<Kept, SnapshotError> {
    let deadline = Instant::now() + limits.within;
    let mut store = Store::of(&files.root);
    store.make().map_err(SnapshotError::disk("making the folder of snapshots"))?;
    let locked = store.lock(deadline).map_err(SnapshotError::disk("locking the snapshots"))?;
    let Some(_lock) = locked else { return Err(SnapshotError::TooSlow(limits.within)) };
    let taken = take_into(&mut store, files, turn, limits, deadline, lookout);
    if taken.is_err() {
        retention::forget(&store, turn).map_err(SnapshotError::disk("forgetting a snapshot"))?;
    }
    taken
}

fn take_into(
    store: &mut Store,
    files: &WorkspaceFolders,
    turn: TurnId,
    limits: SnapshotLimits,
    deadline: Instant,
    lookout: &Lookout,
) -> Result<Kept, SnapshotError> {
    let storing = || SnapshotError::disk("storing a snapshot");
    let root = open_folder(&files.root)?;
    let disk = fstatvfs(&root).map_err(failed("looking at the disk"))?;
    if disk.f_bavail.saturating_mul(disk.f_frsize) < LEAST_FREE_BYTES {
        return Err(SnapshotError::NoRoom);
    }
    let before = newest(store).map_err(storing())?;
    let earlier = before.as_ref().and_then(|record| store.tree(record.tree).ok());
    let mut walk = Take::new(store, limits, deadline, lookout);
    let names = these(["home", "workspace"]);
    let walked = walk.folder(&root, &names, &earlier.unwrap_or_default(), 0);
    let (entries, left_out, is_unfinished) = (walk.entries, walk.left_out, walk.is_unfinished);

    let new_bytes = store.new_bytes;
    let stored_before = before.as_ref().map_or(0, |record| record.stored_bytes);
    let stored_bytes = stored_before.saturating_add(new_bytes);
    let new_record = |tree| Record { tree, entries, new_bytes, stored_bytes };
    match walked {
        Ok(tree) if !is_unfinished => {
            store.keep(turn, &new_record(tree)).map_err(storing())?;
            let turns = retention::keep_within(store, limits.kept_bytes).map_err(storing())?;
            Ok(Kept { entries, new_bytes, left_out, turns })
        }
        // What is stored already makes the next attempt shorter.
        Ok(tree) => {
            give_up(store, &new_record(tree), limits).map_err(storing())?;
            Err(SnapshotError::TooSlow(limits.within))
        }
        Err(error) => {
            let tree = match before {
                Some(record) => record.tree,
                None => store.put_tree(&Tree::new()).map_err(storing())?,
            };
            give_up(store, &new_record(tree), limits).map_err(storing())?;
            Err(error)
        }
    }
}

/// Keeps what an attempt stored for the next one, unless that is too much by now.
fn give_up(store: &Store, unfinished: &Record, limits: SnapshotLimits) -> io::Result<()> {
    if unfinished.stored_bytes > limits.kept_bytes {
        retention::start_over(store)
    } else {
        store.keep_unfinished(unfinished)
    }
}

fn newest(store: &Store) -> io::Result<Option<Record>> {
    if let Some(unfinished) = store.read_unfinished()? {
        return Ok(Some(unfinished));
    }
    store.list()?.last().map(store::Kept::read).transpose()
}

/// Makes the files of a new session what those of `source` were at the end of the turn: beside their place first, so that they are there as a whole or
/// not at all. What an earlier attempt left is done again.
fn restore_now(
    source: &WorkspaceFolders,
    turn: TurnId,
    beside: &Path,
    target: &WorkspaceFolders,
    owner: Option<u32>,
) -> io::Result<()> {
    let store = Store::of(&source.root);
    let kept = store.list()?.into_iter().find(|kept| kept.turn == turn);
    let tree = kept.ok_or(io::ErrorKind::NotFound)?.read()?.tree;
    store::unless_absent(fs::remove_dir_all(beside))?;
    make_folder(beside, 0o700, None)?;
    let folder = open(beside, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    Restore::new(&store, owner).folder(folder.as_fd(), tree)?;
    fs::rename(beside, &target.root)
}

fn open_folder(path: &Path) -> Result<OwnedFd, SnapshotError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).map_err(failed("opening the workspace"))
}
