//! Keeps what a session's snapshots take within bounds: the oldest go first, and with them what only they need.

use std::collections::HashSet;
use std::fs;
use std::io;

use platform_core::id::TurnId;

use super::store::{Kept, Store, unless_absent};
use super::tree::{Kind, ObjectName, Record};

/// Which part of the snapshots goes at once, so that not every turn has to look for what is needed no more.
const DROPPED_SHARE: usize = 4;

/// Drops snapshots while there is more stored than `most_bytes`, but never the newest one. Answers the turns whose files are kept.
pub(super) fn keep_within(store: &Store, most_bytes: u64) -> io::Result<Vec<TurnId>> {
    let mut kept = store.list()?;
    while let [older @ .., newest] = kept.as_slice() {
        let record = newest.read()?;
        if record.stored_bytes <= most_bytes || older.is_empty() {
            break;
        }
        let dropped = kept.len().div_ceil(DROPPED_SHARE).min(older.len());
        kept.iter().take(dropped).try_for_each(Kept::remove)?;
        let newest = newest.clone();
        kept.drain(..dropped);
        let stored_bytes = sweep(store, &kept)?;
        store.keep(newest.turn, &Record { stored_bytes, ..record })?;
        kept = store.list()?;
    }
    Ok(kept.iter().map(|kept| kept.turn).collect())
}

/// Removes what attempts left behind that made no snapshot.
pub(super) fn start_over(store: &Store) -> io::Result<()> {
    store.forget_unfinished()?;
    let kept = store.list()?;
    let stored_bytes = sweep(store, &kept)?;
    let Some(newest) = kept.last() else { return Ok(()) };
    store.keep(newest.turn, &Record { stored_bytes, ..newest.read()? })
}

/// Removes the record of a turn's snapshot, if there is one.
pub(super) fn forget(store: &Store, turn: TurnId) -> io::Result<()> {
    store.list()?.iter().filter(|kept| kept.turn == turn).try_for_each(Kept::remove)
}

/// Removes the objects that no snapshot needs, and answers how many bytes are left.
fn sweep(store: &Store, kept: &[Kept]) -> io::Result<u64> {
    let mut needed = HashSet::new();
    for snapshot in kept {
        mark(store, snapshot.read()?.tree, &mut needed)?;
    }
    let mut left = 0;
    for object in fs::read_dir(store.objects())? {
        let object = object?;
        let name = object.file_name().to_str().and_then(ObjectName::parse);
        if name.is_some_and(|name| needed.contains(&name)) {
            left += object.metadata()?.len();
        } else {
            unless_absent(fs::remove_file(object.path()))?;
        }
    }
    Ok(left)
}

fn mark(store: &Store, tree: ObjectName, needed: &mut HashSet<ObjectName>) -> io::Result<()> {
    if !needed.insert(tree) {
        return Ok(());
    }
    for entry in store.tree(tree)? {
        match entry.kind {
            Kind::Folder { tree } => mark(store, tree, needed)?,
            Kind::File { objects, .. } => needed.extend(objects),
            Kind::Link { .. } => {}
        }
    }
    Ok(())
}
