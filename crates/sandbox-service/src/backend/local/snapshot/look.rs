//! Looks at files that may change at any moment.

use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, FileType, Stat, statat};
use rustix::io::Errno;

use super::tree::{Entry, Identity, Kind, Moment, Name, Tree};
use crate::snapshots::SnapshotError;

/// By how much the kernel's clock for files may be behind.
pub(super) const CLOCK_STEP: Duration = Duration::from_millis(20);

/// The entry of the snapshot before, if the file is still as it was then.
pub(super) fn unchanged(stat: &Stat, earlier: &Tree, name: &Name) -> Option<Entry> {
    let known = find(earlier, name)?;
    let Kind::File { seen, .. } = &known.kind else { return None };
    let mode = stat.st_mode & 0o7777;
    (seen.as_ref() == Some(&Identity::of(stat)) && known.mode == mode).then(|| known.clone())
}

pub(super) fn find<'t>(tree: &'t Tree, name: &Name) -> Option<&'t Entry> {
    let at = tree.binary_search_by(|entry| entry.name.cmp(name)).ok()?;
    tree.get(at)
}

/// `None` when there is nothing of that name.
pub(super) fn look(folder: &OwnedFd, name: &Name) -> Result<Option<Stat>, SnapshotError> {
    match statat(folder, name.0.as_os_str(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(failed("looking at a file")(error)),
    }
}

pub(super) fn identities(
    folder: &OwnedFd,
    names: [&Name; 3],
) -> Result<[Option<Identity>; 3], SnapshotError> {
    let [first, second, third] = names;
    let identity = |name| Ok(look(folder, name)?.as_ref().map(Identity::of));
    Ok([identity(first)?, identity(second)?, identity(third)?])
}

pub(super) fn is_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

/// Whether a change after now shows in the time of the last one.
pub(super) fn is_settled((seconds, nanoseconds): Moment) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let changed = u64::try_from(seconds).map(|seconds| Duration::new(seconds, nanoseconds));
    // Also when the clock was put back meanwhile.
    changed.is_ok_and(|changed| now.abs_diff(changed) >= CLOCK_STEP)
}

pub(super) fn failed(what: &'static str) -> impl FnOnce(Errno) -> SnapshotError {
    move |errno| SnapshotError::Disk { what, source: errno.into() }
}
