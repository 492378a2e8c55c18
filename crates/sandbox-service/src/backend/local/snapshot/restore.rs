//! Makes new files from a snapshot.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid, chownat, fchmod, fchown, futimens,
    ioctl_ficlone, mkdirat, openat, symlinkat, utimensat,
};
use sha2::{Digest, Sha256};

use super::store::{PIECE_BYTES, Store};
use super::tree::{Entry, Kind, Moment, Name, ObjectName};

/// The permissions of what is still being made.
const PRIVATE_FOLDER: Mode = Mode::RWXU;
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Makes the files of one snapshot.
pub(super) struct Restore<'a> {
    store: &'a Store,
    owner: Option<u32>,
    /// What was read last; its room is used again.
    piece: Vec<u8>,
}

impl<'a> Restore<'a> {
    /// `owner`: whose they become; `None`: those of this process.
    pub(super) fn new(store: &'a Store, owner: Option<u32>) -> Self {
        Self { store, owner, piece: vec![0; PIECE_BYTES] }
    }

    /// Makes everything of a stored folder in one that is empty, and that nobody else can reach.
    pub(super) fn folder(&mut self, target: BorrowedFd<'_>, tree: ObjectName) -> io::Result<()> {
        for entry in self.store.tree(tree)? {
            let name = &entry.name;
            match &entry.kind {
                Kind::Folder { tree } => {
                    mkdirat(target, name.0.as_os_str(), PRIVATE_FOLDER)?;
                    let folder = open(target, name, OFlags::RDONLY | OFlags::DIRECTORY)?;
                    self.folder(folder.as_fd(), *tree)?;
                    self.finish(folder.as_fd(), &entry)?;
                }
                Kind::Link { target: to } => {
                    symlinkat(to.0.as_os_str(), target, name.0.as_os_str())?;
                    self.finish_link(target, &entry)?;
                }
                Kind::File { objects, .. } => {
                    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
                    let mut file = File::from(open(target, name, flags)?);
                    self.fill(&mut file, objects)?;
                    self.finish(file.as_fd(), &entry)?;
                }
            }
        }
        Ok(())
    }

    fn fill(&mut self, file: &mut File, objects: &[ObjectName]) -> io::Result<()> {
        if let [whole] = objects {
            let object = self.store.open(*whole)?;
            if ioctl_ficlone(&*file, &object).is_ok() {
                return self.read_through(file, *whole, |_content| Ok(()));
            }
        }
        for name in objects {
            let mut object = self.store.open(*name)?;
            self.read_through(&mut object, *name, |content| file.write_all(content))?;
        }
        Ok(())
    }

    /// Passes the content of an object on, and makes sure that it is what was stored.
    fn read_through(
        &mut self,
        object: &mut File,
        name: ObjectName,
        mut pass_on: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut hash = Sha256::new();
        loop {
            let read = object.read(&mut self.piece)?;
            let Some(content) = self.piece.get(..read).filter(|content| !content.is_empty()) else {
                break;
            };
            hash.update(content);
            pass_on(content)?;
        }
        if ObjectName::of_hash(hash) == name {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "a kept file is damaged"))
    }

    fn finish(&self, made: BorrowedFd<'_>, entry: &Entry) -> io::Result<()> {
        if let Some(user) = self.owner {
            fchown(made, Some(Uid::from_raw(user)), Some(Gid::from_raw(user)))?;
        }
        // After the owner, whose change takes some of these bits away.
        fchmod(made, Mode::from_raw_mode(entry.mode))?;
        Ok(futimens(made, &times(entry.modified))?)
    }

    fn finish_link(&self, folder: BorrowedFd<'_>, entry: &Entry) -> io::Result<()> {
        let (name, not_followed) = (entry.name.0.as_os_str(), AtFlags::SYMLINK_NOFOLLOW);
        if let Some(user) = self.owner {
            let (user, group) = (Uid::from_raw(user), Gid::from_raw(user));
            chownat(folder, name, Some(user), Some(group), not_followed)?;
        }
        Ok(utimensat(folder, name, &times(entry.modified), not_followed)?)
    }
}

fn open(folder: BorrowedFd<'_>, name: &Name, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(folder, name.0.as_os_str(), flags, PRIVATE_FILE)?)
}

fn times((seconds, nanoseconds): Moment) -> Timestamps {
    let modified = Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
    Timestamps { last_access: modified, last_modification: modified }
}
