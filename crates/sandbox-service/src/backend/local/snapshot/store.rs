//! Kept files on disk: objects named by their content, and a record per snapshot. Lies beside a session's workspace, where no room sees it.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use platform_core::id::TurnId;
use rustix::fs::{FlockOperation, flock, ioctl_ficlone};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::tree::{ObjectName, Record, Tree};
use crate::planted::Look;

/// How much is read at once.
pub(super) const PIECE_BYTES: usize = 1 << 20;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The objects and records of one session.
#[derive(Debug)]
pub(super) struct Store {
    root: PathBuf,
    /// What was added since it was opened.
    pub(super) new_bytes: u64,
}

/// Held while something is added or removed: another replica may have the same in hand.
#[derive(Debug)]
pub(super) struct StoreLock {
    _file: File,
}

/// Where the record of a snapshot lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    sequence: u64,
    pub(super) turn: TurnId,
    path: PathBuf,
}

impl Kept {
    pub(super) fn read(&self) -> io::Result<Record> {
        read_json(&self.path)
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        unless_absent(fs::remove_file(&self.path))
    }
}

impl Store {
    /// `files` is the folder above the workspace; it is not made, so that nothing of a deleted session comes back.
    pub(super) fn of(files: &Path) -> Self {
        Self { root: files.join("snapshots"), new_bytes: 0 }
    }

    pub(super) fn make(&self) -> io::Result<()> {
        let mut private = DirBuilder::new();
        private.mode(0o700);
        for folder in [self.root.clone(), self.objects(), self.turns()] {
            match private.create(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// `None` when somebody else still holds it at the deadline. Let go by the kernel, whatever becomes of the holder.
    pub(super) fn lock(&self, deadline: Instant) -> io::Result<Option<StoreLock>> {
        let file = File::options().create(true).append(true).open(self.root.join("lock"))?;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Some(StoreLock { _file: file })),
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    std::thread::sleep(LOCK_PAUSE);
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Stores a piece of content, unless it is there already.
    pub(super) fn put(&mut self, content: &[u8]) -> io::Result<ObjectName> {
        let name = ObjectName::of(content);
        if !self.has(name, content.len()) {
            fs::write(self.incoming(), content)?;
            self.accept(name, content.len())?;
        }
        Ok(name)
    }

    pub(super) fn put_tree(&mut self, tree: &Tree) -> io::Result<ObjectName> {
        self.put(&serde_json::to_vec(tree)?)
    }

    /// Stores a file as one object, by the file system's own means where it can share blocks. Answers the object and its length; `None` when
    /// the deadline passed meanwhile.
    pub(super) fn put_file(
        &mut self,
        source: &File,
        size: u64,
        deadline: Instant,
        mut look: Option<Look<'_>>,
    ) -> io::Result<Option<(ObjectName, u64)>> {
        let path = self.incoming();
        let mut options = File::options();
        let mut incoming =
            options.read(true).write(true).create(true).truncate(true).open(&path)?;
        let is_clone = ioctl_ficlone(&incoming, source).is_ok();
        let mut from = if is_clone { incoming.try_clone()? } else { source.try_clone()? };
        let mut hash = Sha256::new();
        let mut length = 0;
        let mut piece = vec![0; PIECE_BYTES];
        // What is appended meanwhile is left alone: a file that grows for ever has no end.
        let mut rest = (&mut from).take(size);
        loop {
            if Instant::now() >= deadline {
                return Ok(None);
            }
            let read = rest.read(&mut piece)?;
            let Some(content) = piece.get(..read).filter(|content| !content.is_empty()) else {
                break;
            };
            hash.update(content);
            if let Some(look) = &mut look {
                look.read(content);
            }
            length += read;
            if !is_clone {
                incoming.write_all(content)?;
            }
        }
        if is_clone {
            incoming.set_len(u64::try_from(length).unwrap_or(u64::MAX))?;
        }
        let name = ObjectName::of_hash(hash);
        if self.has(name, length) {
            fs::remove_file(path)?;
        } else {
            self.accept(name, length)?;
        }
        Ok(Some((name, u64::try_from(length).unwrap_or(u64::MAX))))
    }

    pub(super) fn open(&self, name: ObjectName) -> io::Result<File> {
        File::open(self.object(name))
    }

    pub(super) fn tree(&self, name: ObjectName) -> io::Result<Tree> {
        read_json(&self.object(name))
    }

    /// The snapshots there are, oldest first.
    pub(super) fn list(&self) -> io::Result<Vec<Kept>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(self.turns())? {
            let path = entry?.path();
            let named = path.file_name().and_then(|name| name.to_str()).and_then(parse);
            if let Some((sequence, turn)) = named {
                all.push(Kept { sequence, turn, path });
            }
        }
        all.sort_by_key(|kept| kept.sequence);
        Ok(all)
    }

    /// Makes the record of a snapshot the newest one, in the place of an earlier one of the same turn.
    pub(super) fn keep(&self, turn: TurnId, record: &Record) -> io::Result<()> {
        let earlier = self.list()?;
        let sequence = earlier.last().map_or(0, |last| last.sequence) + 1;
        let name = format!("{sequence:020}-{}", turn.uuid().simple());
        self.write(record, &self.turns().join(name))?;
        self.forget_unfinished()?;
        earlier.iter().filter(|kept| kept.turn == turn).try_for_each(Kept::remove)
    }

    /// Notes how far a snapshot came that ran out of time: the next one goes on from there.
    pub(super) fn keep_unfinished(&self, record: &Record) -> io::Result<()> {
        self.write(record, &self.unfinished())
    }

    pub(super) fn forget_unfinished(&self) -> io::Result<()> {
        unless_absent(fs::remove_file(self.unfinished()))
    }

    pub(super) fn read_unfinished(&self) -> io::Result<Option<Record>> {
        match read_json(&self.unfinished()) {
            Ok(record) => Ok(Some(record)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn objects(&self) -> PathBuf {
        self.root.join("objects")
    }

    fn turns(&self) -> PathBuf {
        self.root.join("turns")
    }

    fn unfinished(&self) -> PathBuf {
        self.root.join("unfinished")
    }

    /// Written here first, so that what bears an object's name is whole.
    fn incoming(&self) -> PathBuf {
        self.root.join("incoming")
    }

    fn object(&self, name: ObjectName) -> PathBuf {
        self.objects().join(name.to_string())
    }

    /// An object that a loss of power cut short does not count.
    fn has(&self, name: ObjectName, length: usize) -> bool {
        let length = u64::try_from(length).ok();
        fs::metadata(self.object(name)).is_ok_and(|found| Some(found.len()) == length)
    }

    fn accept(&mut self, name: ObjectName, length: usize) -> io::Result<()> {
        fs::rename(self.incoming(), self.object(name))?;
        self.new_bytes += u64::try_from(length).unwrap_or_default();
        Ok(())
    }

    fn write(&self, record: &Record, path: &Path) -> io::Result<()> {
        fs::write(self.incoming(), serde_json::to_vec(record)?)?;
        fs::rename(self.incoming(), path)
    }
}

fn parse(name: &str) -> Option<(u64, TurnId)> {
    let (sequence, turn) = name.split_once('-')?;
    Some((sequence.parse().ok()?, TurnId::from_uuid(Uuid::parse_str(turn).ok()?)))
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> io::Result<T> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

pub(super) fn unless_absent(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
