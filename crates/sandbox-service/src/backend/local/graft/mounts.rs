//! Exchanges folders that are mounted in rooms which run, from outside.
//!
//! A mount is copied out of this service's own namespace of mounts, carried over by its descriptor, and put down in the room's. All of
//! it happens on a thread that is thrown away, because its own namespace and root are others afterwards.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{chroot, fchdir};
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::GraftError;
use crate::backend::local::process::began_of;

/// What is to change in one room.
#[derive(Debug)]
pub(super) struct RoomMounts {
    /// The room's first process, and when it began.
    pub(super) pid: i32,
    pub(super) began: u64,
    pub(super) exchanges: Vec<Exchange>,
}

/// A folder that takes another one's place.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) old: PathBuf,
    pub(super) new: PathBuf,
    /// Where the room has it.
    pub(super) target: PathBuf,
}

/// A room that cannot become another one's any more.
struct OpenRoom {
    mounts: File,
    root: File,
}

/// A folder, whatever it is called.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    device: u64,
    inode: u64,
}

/// A mount that waits for being put down.
struct Copy<'a> {
    exchange: &'a Exchange,
    /// `None`: it is removed already.
    old: Option<Place>,
    new: Place,
    tree: OwnedFd,
}

/// Whether this process may do it at all.
pub(super) fn probe(folder: &Path) -> Result<(), GraftError> {
    let folder = folder.to_owned();
    on_a_thread_of_its_own(move || {
        own_mounts()?;
        copy(&folder).map(drop)
    })
}

/// Exchanges the folders of the rooms one after the other. What an earlier attempt has done stays as it is.
pub(super) fn exchange(rooms: [RoomMounts; 2]) -> Result<(), GraftError> {
    on_a_thread_of_its_own(move || {
        let opened = rooms.iter().map(OpenRoom::of).collect::<Result<Vec<_>, _>>()?;
        own_mounts()?;
        let copied = rooms.iter().map(|room| room.exchanges.iter().map(Copy::of).collect());
        let copied = copied.collect::<Result<Vec<Vec<_>>, _>>()?;
        for (room, copies) in opened.iter().zip(copied) {
            room.enter()?;
            copies.iter().try_for_each(Copy::put_down)?;
        }
        Ok(())
    })
}

fn on_a_thread_of_its_own(
    work: impl FnOnce() -> Result<(), GraftError> + Send + 'static,
) -> Result<(), GraftError> {
    let starting = GraftError::at("starting a thread");
    let thread = thread::Builder::new().name("graft".to_owned()).spawn(work).map_err(starting)?;
    let broken_off = |_panic| GraftError::at("a thread")(io::ErrorKind::Other.into());
    thread.join().map_err(broken_off)?
}

/// Leaves the mounts of the service: what is mounted from here on nobody else sees.
fn own_mounts() -> Result<(), GraftError> {
    let failed = || GraftError::in_mounting("leaving the service's mounts");
    unshare(CloneFlags::CLONE_NEWNS).map_err(failed())?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(failed())
}

/// A mount of the folder that is nowhere yet, with the flags that bubblewrap gives to its own.
fn copy(folder: &Path) -> Result<OwnedFd, GraftError> {
    let failed = || GraftError::in_mounting("copying a mount");
    let none = None::<&str>;
    mount(Some(folder), folder, none, MsFlags::MS_BIND, none).map_err(failed())?;
    let mut flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    if statvfs(folder).map_err(failed())?.flags().contains(FsFlags::ST_NOEXEC) {
        flags |= MsFlags::MS_NOEXEC;
    }
    mount(none, folder, none, flags, none).map_err(failed())?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, folder, flags).map_err(|errno| GraftError::at("copying a mount")(errno.into()))
}

impl OpenRoom {
    fn of(wanted: &RoomMounts) -> Result<Self, GraftError> {
        let opening = || GraftError::at("opening a room");
        let process = Path::new("/proc").join(wanted.pid.to_string());
        let mounts = File::open(process.join("ns/mnt")).map_err(opening())?;
        let root = File::open(process.join("root")).map_err(opening())?;
        // Read after both were opened: they belong to the process that began then.
        if began_of(wanted.pid) != Some(wanted.began) {
            return Err(opening()(io::ErrorKind::NotFound.into()));
        }
        Ok(Self { mounts, root })
    }

    /// From here on this thread sees what the room sees.
    fn enter(&self) -> Result<(), GraftError> {
        let failed = || GraftError::in_mounting("entering a room");
        setns(&self.mounts, CloneFlags::CLONE_NEWNS).map_err(failed())?;
        fchdir(&self.root).map_err(failed())?;
        chroot(".").map_err(failed())
    }
}

impl<'a> Copy<'a> {
    fn of(exchange: &'a Exchange) -> Result<Self, GraftError> {
        let old = exchange.old.exists().then(|| Place::of(&exchange.old)).transpose()?;
        Ok(Self { exchange, old, new: Place::of(&exchange.new)?, tree: copy(&exchange.new)? })
    }

    fn put_down(&self) -> Result<(), GraftError> {
        let target = &self.exchange.target;
        let seen = Place::of(target)?;
        if seen == self.new {
            return Ok(());
        }
        // It may be missing because an earlier attempt came as far as that.
        if Some(&seen) == self.old.as_ref() {
            let flags = MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW;
            umount2(target, flags).map_err(GraftError::in_mounting("removing a mount"))?;
        }
        if Some(Place::of(target)?) == self.old {
            // On top of it the new mount would end with the old folder.
            return Err(GraftError::in_mounting("removing a mount")(Errno::EBUSY));
        }
        move_mount(&self.tree, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .map_err(|errno| GraftError::at("adding a mount")(errno.into()))
    }
}

impl Place {
    fn of(folder: &Path) -> Result<Self, GraftError> {
        let looked = fs::symlink_metadata(folder).map_err(GraftError::at("looking at a folder"))?;
        Ok(Self { device: looked.dev(), inode: looked.ino() })
    }
}
