//! Removes folders that somebody who was not trusted has filled.
//!
//! The standard library goes down one call of a function, and one open folder, for each level: a sandbox that makes tens of thousands of
//! levels ends the service that removes them. Here what lies too deep is moved up first, and then it does not lie deep any more.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, chmodat, openat, renameat, rmdir, unlinkat};
use rustix::io::Errno;
use rustix::path::Arg;

/// Folders below one another that are held open at a time.
const DEEPEST: usize = 64;
const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Removes a folder and all in it. Follows no link. One that is not there is an error of kind `NotFound`.
pub fn remove_tree(folder: &Path) -> io::Result<()> {
    let mut moved = 0;
    loop {
        let top = match openat(CWD, folder, FOLDER, Mode::empty()) {
            Err(Errno::ACCESS) => open_closed(CWD, folder)?,
            opened => opened?,
        };
        remove_content(&top, &mut moved)?;
        match rmdir(folder) {
            // Something was moved up behind the reader's back.
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            done => return Ok(done?),
        }
    }
}

struct Level {
    folder: Dir,
    /// What it is called in the one above.
    name: CString,
}

/// Removes what is in a folder, as far as its reading shows it.
fn remove_content(top: &OwnedFd, moved: &mut u64) -> io::Result<()> {
    let mut levels = vec![Level { folder: Dir::read_from(top)?, name: c".".to_owned() }];
    loop {
        let depth = levels.len();
        let Some(level) = levels.last_mut() else { return Ok(()) };
        let Some(entry) = level.folder.read() else {
            let finished = levels.pop();
            if let (Some(finished), Some(above)) = (finished, levels.last()) {
                unlinkat(above.folder.fd()?, &finished.name, AtFlags::REMOVEDIR)?;
            }
            continue;
        };
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let parent = level.folder.fd()?;
        match unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => continue,
            // A folder, as Linux and as others say it.
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
        if depth < DEEPEST {
            let opened = match openat(parent, name, FOLDER, Mode::empty()) {
                Err(Errno::ACCESS) => open_closed(parent, name)?,
                opened => opened?,
            };
            levels.push(Level { folder: Dir::new(opened)?, name: name.to_owned() });
        } else {
            move_up(parent, name, top, moved)?;
        }
    }
}

/// Moves a folder to a name that is free, whatever names there are already.
fn move_up(parent: BorrowedFd<'_>, name: &CStr, top: &OwnedFd, moved: &mut u64) -> io::Result<()> {
    loop {
        *moved += 1;
        match renameat(parent, name, top, format!(".moved-{moved}")) {
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
            done => return Ok(done?),
        }
    }
}

/// Opens a folder that its owner has closed to himself. Whoever is root needs no leave.
fn open_closed(parent: impl AsFd, name: impl Arg + Copy) -> io::Result<OwnedFd> {
    chmodat(&parent, name, Mode::RWXU, AtFlags::empty())?;
    Ok(openat(parent, name, FOLDER, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_folder_deeper_than_any_stack_is_removed() {
        // In memory: on a disk that others use too it takes a minute.
        let around = tempfile::tempdir_in("/dev/shm").unwrap();
        let top = around.path().join("top");
        fs::create_dir(&top).unwrap();
        let mut parent = openat(CWD, &top, FOLDER, Mode::empty()).unwrap();
        for level in 0..30_000 {
            rustix::fs::mkdirat(&parent, "d", Mode::RWXU).unwrap();
            if level % 1000 == 0 {
                rustix::fs::mkdirat(&parent, "beside", Mode::RWXU).unwrap();
            }
            parent = openat(&parent, "d", FOLDER, Mode::empty()).unwrap();
        }
        drop(parent);
        // The very names by which it makes room.
        fs::create_dir_all(top.join(".moved-1/taken")).unwrap();
        fs::write(top.join(".moved-2"), "").unwrap();
        remove_tree(&top).unwrap();
        assert!(!top.exists());
    }

    #[test]
    fn links_lose_their_name_and_not_what_they_lead_to() {
        let around = tempfile::tempdir().unwrap();
        let (top, outside) = (around.path().join("top"), around.path().join("outside"));
        fs::create_dir_all(top.join("inner/closed")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "").unwrap();
        symlink(&outside, top.join("inner/link")).unwrap();
        fs::set_permissions(top.join("inner/closed"), fs::Permissions::from_mode(0o000)).unwrap();
        remove_tree(&top).unwrap();
        assert!(!top.exists() && outside.join("file").exists());
        assert_eq!(remove_tree(&top).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
