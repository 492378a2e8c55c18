//! Takes a snapshot of folders in which somebody who is not trusted may be at work.
//!
//! Every step goes from an open folder to a name in it and never through a link, so that nothing outside can be reached.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::{Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat};
use rustix::io::Errno;

use super::look::{CLOCK_STEP, failed, find, identities, is_file, is_settled, look, unchanged};
use super::store::Store;
use super::tree::{Entry, Identity, Kind, Name, ObjectName, Tree, modified};
use crate::planted::{Look, Lookout};
use crate::snapshots::{SnapshotError, SnapshotLimits};

const DEEPEST: usize = 128;
/// What the sandbox calls the folder `home`.
const HOME: &str = "/home/agent";
/// Files are kept in pieces of this size, so that a database of which a turn changes little is not kept as a whole again and again.
const PIECE: usize = 128 << 10;
/// From this size on a file is one object, which the file system may share with the original.
const WHOLE_FROM: u64 = 16 << 20;
const SQLITE: &[u8; 16] = b"SQLite format 3\0";
/// What SQLite keeps beside a database and needs with it. Its third file, `-shm`, is made anew.
const COMPANIONS: [&str; 2] = ["-journal", "-wal"];
/// How long a database may take to be left alone for as long as it takes to read it.
const DATABASE_WITHIN: Duration = Duration::from_secs(1);

/// A snapshot under way.
pub(super) struct Take<'a> {
    pub(super) store: &'a mut Store,
    limits: SnapshotLimits,
    deadline: Instant,
    lookout: &'a Lookout,
    /// The folder at work, as the sandbox calls it.
    path: PathBuf,
    pub(super) entries: u64,
    bytes: u64,
    /// What was read last; its room is used again.
    piece: Vec<u8>,
    /// What could not be read.
    pub(super) left_out: u64,
    /// The time is over: what is there so far is no snapshot, but helps the next one.
    pub(super) is_unfinished: bool,
}

/// What a name turned out to be.
enum Found {
    /// Gone, of a kind that is not kept, or not to be read.
    Nothing,
    Entry(Entry),
    /// Its content makes sense only together with that of its companions.
    Database,
}

impl<'a> Take<'a> {
    pub(super) fn new(
        store: &'a mut Store,
        limits: SnapshotLimits,
        deadline: Instant,
        lookout: &'a Lookout,
    ) -> Self {
        let path = PathBuf::from("/");
        let piece = Vec::with_capacity(PIECE + 1);
        let (entries, bytes, left_out, is_unfinished) = (0, 0, 0, false);
        Self {
            store,
            limits,
            deadline,
            lookout,
            path,
            entries,
            bytes,
            piece,
            left_out,
            is_unfinished,
        }
    }

    /// Stores these names of a folder and all below them. `earlier` is what the snapshot before had in the folder.
    pub(super) fn folder(
        &mut self,
        folder: &OwnedFd,
        names: &BTreeSet<Name>,
        earlier: &Tree,
        depth: usize,
    ) -> Result<ObjectName, SnapshotError> {
        if depth > DEEPEST {
            return Err(SnapshotError::TooDeep(DEEPEST));
        }
        let mut tree = Tree::new();
        let mut dealt_with = BTreeSet::new();
        for name in names {
            if self.is_over() {
                break;
            }
            if dealt_with.contains(name) {
                continue;
            }
            let has_companions =
                COMPANIONS.iter().any(|suffix| names.contains(&name.with_suffix(suffix)));
            let found = match look(folder, name)? {
                Some(stat) if has_companions && is_file(&stat) => Found::Database,
                Some(stat) => self.entry(folder, name, &stat, earlier, depth)?,
                None => Found::Nothing,
            };
            match found {
                Found::Nothing => {}
                Found::Entry(entry) => {
                    self.count(1)?;
                    tree.push(entry);
                }
                Found::Database => {
                    let members = self.database(folder, name, earlier)?;
                    self.count(members.len())?;
                    tree.extend(members);
                    dealt_with.extend(COMPANIONS.map(|suffix| name.with_suffix(suffix)));
                    dealt_with.insert(name.with_suffix("-shm"));
                }
            }
        }
        // Companions came with their database.
        tree.sort_by(|one, other| one.name.cmp(&other.name));
        self.store.put_tree(&tree).map_err(SnapshotError::disk("storing a folder"))
    }

    fn entry(
        &mut self,
        folder: &OwnedFd,
        name: &Name,
        stat: &Stat,
        earlier: &Tree,
        depth: usize,
    ) -> Result<Found, SnapshotError> {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => self.file(folder, name, stat, earlier),
            FileType::Symlink => link(folder, name, stat),
            FileType::Directory => {
                let Some(opened) = self.open(folder, name, OFlags::DIRECTORY)? else {
                    return Ok(Found::Nothing);
                };
                let stat = fstat(&opened).map_err(failed("looking at a folder"))?;
                let names = self.names(&opened)?;
                let earlier = self.earlier(earlier, name);
                let inside = self.inside(name, depth);
                let above = std::mem::replace(&mut self.path, inside);
                let tree = self.folder(&opened, &names, &earlier, depth + 1)?;
                self.path = above;
                Ok(Found::Entry(new_entry(name, &stat, Kind::Folder { tree })))
            }
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => Ok(Found::Nothing),
        }
    }

    fn file(
        &mut self,
        folder: &OwnedFd,
        name: &Name,
        stat: &Stat,
        earlier: &Tree,
    ) -> Result<Found, SnapshotError> {
        if let Some(known) = unchanged(stat, earlier, name) {
            self.admit(Identity::of(stat).size)?;
            return Ok(Found::Entry(known));
        }
        // Never waits, should a pipe have taken the file's place.
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let Some(opened) = self.open(folder, name, flags)?.map(File::from) else {
            return Ok(Found::Nothing);
        };
        let stat = fstat(&opened).map_err(failed("looking at a file"))?;
        if !is_file(&stat) {
            return Ok(Found::Nothing);
        }
        let mut head = [0; SQLITE.len()];
        let is_database = opened.read_exact_at(&mut head, 0).is_ok() && &head == SQLITE;
        if is_database {
            return Ok(Found::Database);
        }
        let kept = self.content(&opened, name, &stat)?;
        Ok(kept.map_or(Found::Nothing, Found::Entry))
    }

    /// Reads a database as it is between two changes: when one comes in between, it is read again. What is kept together this way is what
    /// a sudden end at that moment would have left, and that SQLite recovers from.
    fn database(
        &mut self,
        folder: &OwnedFd,
        name: &Name,
        earlier: &Tree,
    ) -> Result<Vec<Entry>, SnapshotError> {
        let [journal, log] = COMPANIONS.map(|suffix| name.with_suffix(suffix));
        let members = [&log, &journal, name];
        let given_up = Instant::now() + DATABASE_WITHIN;
        while !self.is_over() {
            let before = identities(folder, members)?;
            let bytes = self.bytes;
            if before.iter().flatten().all(|seen| is_settled(seen.changed)) {
                let mut entries = Vec::new();
                for member in members {
                    entries.extend(self.member(folder, member, earlier)?);
                }
                if identities(folder, members)? == before {
                    return Ok(entries);
                }
            }
            if Instant::now() >= given_up {
                return Err(SnapshotError::Busy(name.0.to_string_lossy().into_owned()));
            }
            self.bytes = bytes;
            std::thread::sleep(CLOCK_STEP);
        }
        Ok(Vec::new())
    }

    fn member(
        &mut self,
        folder: &OwnedFd,
        name: &Name,
        earlier: &Tree,
    ) -> Result<Option<Entry>, SnapshotError> {
        let Some(stat) = look(folder, name)? else { return Ok(None) };
        if let Some(known) = unchanged(&stat, earlier, name) {
            self.admit(Identity::of(&stat).size)?;
            return Ok(Some(known));
        }
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let Some(opened) = self.open(folder, name, flags)?.map(File::from) else {
            return Ok(None);
        };
        let stat = fstat(&opened).map_err(failed("looking at a file"))?;
        if is_file(&stat) { self.content(&opened, name, &stat) } else { Ok(None) }
    }

    /// Stores what is in a file. `None` when the time ran out meanwhile.
    fn content(
        &mut self,
        file: &File,
        name: &Name,
        stat: &Stat,
    ) -> Result<Option<Entry>, SnapshotError> {
        let before = Identity::of(stat);
        self.admit(before.size)?;
        let look = self.lookout.file(&self.path.join(&name.0));
        let stored = if before.size >= WHOLE_FROM {
            let put = self.store.put_file(file, before.size, self.deadline, look);
            put.map(|whole| whole.map(|(object, size)| (vec![object], size)))
        } else {
            self.pieces(file, before.size, look).map(Some)
        };
        let Some((objects, size)) = stored.map_err(SnapshotError::disk("storing a file"))? else {
            self.is_unfinished = true;
            return Ok(None);
        };
        let after = Identity::of(&fstat(file).map_err(failed("looking at a file"))?);
        // What changes while it is read, or did just before, is read again the next time.
        let seen = (after == before && is_settled(before.changed)).then_some(before);
        Ok(Some(new_entry(name, stat, Kind::File { seen, size, objects })))
    }

    fn pieces(
        &mut self,
        file: &File,
        size: u64,
        mut look: Option<Look<'_>>,
    ) -> io::Result<(Vec<ObjectName>, u64)> {
        let mut objects = Vec::new();
        let mut length = 0;
        // What is appended meanwhile is left alone.
        let mut rest = file.take(size);
        loop {
            self.piece.clear();
            let read = (&mut rest).take(PIECE as u64).read_to_end(&mut self.piece)?;
            if read == 0 {
                return Ok((objects, length));
            }
            if let Some(look) = &mut look {
                look.read(&self.piece);
            }
            objects.push(self.store.put(&self.piece)?);
            length += read as u64;
        }
    }

    /// `None` when it is gone or something else by now, or may not be read.
    fn open(
        &mut self,
        folder: &OwnedFd,
        name: &Name,
        flags: OFlags,
    ) -> Result<Option<OwnedFd>, SnapshotError> {
        let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(folder, name.0.as_os_str(), flags, Mode::empty()) {
            Ok(opened) => Ok(Some(opened)),
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::NXIO) => Ok(None),
            Err(Errno::ACCESS | Errno::PERM) => {
                self.left_out += 1;
                Ok(None)
            }
            Err(error) => Err(failed("opening a file")(error)),
        }
    }

    /// The names in a folder, each once, whatever is done to the folder meanwhile.
    pub(super) fn names(&self, folder: &OwnedFd) -> Result<BTreeSet<Name>, SnapshotError> {
        let most = self.limits.most_files;
        let mut names = BTreeSet::new();
        for entry in Dir::read_from(folder).map_err(failed("reading a folder"))? {
            let entry = entry.map_err(failed("reading a folder"))?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.insert(Name::of(name));
            }
            if names.len() as u64 > most {
                return Err(SnapshotError::TooManyFiles(most));
            }
        }
        Ok(names)
    }

    /// What the snapshot before had in a folder; nothing when that cannot be read any more, which costs only time.
    fn earlier(&self, above: &Tree, name: &Name) -> Tree {
        let tree = find(above, name).and_then(|entry| match entry.kind {
            Kind::Folder { tree } => Some(tree),
            Kind::Link { .. } | Kind::File { .. } => None,
        });
        tree.and_then(|tree| self.store.tree(tree).ok()).unwrap_or_default()
    }

    /// What the sandbox calls a folder of the one at work.
    fn inside(&self, name: &Name, depth: usize) -> PathBuf {
        if depth == 0 && name.0 == "home" { PathBuf::from(HOME) } else { self.path.join(&name.0) }
    }

    fn count(&mut self, entries: usize) -> Result<(), SnapshotError> {
        self.entries += entries as u64;
        if self.entries > self.limits.most_files {
            return Err(SnapshotError::TooManyFiles(self.limits.most_files));
        }
        Ok(())
    }

    fn admit(&mut self, bytes: u64) -> Result<(), SnapshotError> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.limits.most_bytes {
            return Err(SnapshotError::TooLarge(self.limits.most_bytes));
        }
        Ok(())
    }

    fn is_over(&mut self) -> bool {
        self.is_unfinished |= Instant::now() >= self.deadline;
        self.is_unfinished
    }
}

fn link(folder: &OwnedFd, name: &Name, stat: &Stat) -> Result<Found, SnapshotError> {
    match readlinkat(folder, name.0.as_os_str(), Vec::new()) {
        Ok(target) => {
            let target = Name::of(target.to_bytes());
            Ok(Found::Entry(new_entry(name, stat, Kind::Link { target })))
        }
        // It is gone, or a link no more.
        Err(Errno::NOENT | Errno::INVAL) => Ok(Found::Nothing),
        Err(error) => Err(failed("reading a link")(error)),
    }
}

fn new_entry(name: &Name, stat: &Stat, kind: Kind) -> Entry {
    Entry { name: name.clone(), mode: stat.st_mode & 0o7777, modified: modified(stat), kind }
}

/// Names that are known beforehand.
pub(super) fn these<const COUNT: usize>(names: [&str; COUNT]) -> BTreeSet<Name> {
    names.iter().map(|name| Name::of(OsStr::new(name).as_bytes())).collect()
}
