//! Snapshots of real files, taken and restored.

mod planted;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use uuid::Uuid;

use super::super::layout::Layout;
use super::*;

/// A data directory with one session in it, and the places of others.
struct Machine {
    _folder: TempDir,
    layout: Layout,
    limits: SnapshotLimits,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path());
        let limits = SnapshotLimits::default();
        let machine = Self { _folder: folder, layout, limits };
        fs::create_dir_all(machine.source().workspace).unwrap();
        fs::create_dir_all(machine.source().home).unwrap();
        machine
    }

    fn source(&self) -> WorkspaceFolders {
        self.layout.workspace(session(1))
    }

    /// A path in the workspace of the one session.
    fn at(&self, path: &str) -> PathBuf {
        self.source().workspace.join(path)
    }

    fn write(&self, path: &str, content: &[u8]) {
        fs::write(self.at(path), content).unwrap();
    }

    fn take(&self, turn: u128) -> Result<Kept, SnapshotError> {
        take_now(&self.source(), turn_id(turn), self.limits, &Lookout::default())
    }

    /// The files of a new session that goes on from there.
    fn restore(&self, turn: u128, into: u128) -> io::Result<WorkspaceFolders> {
        let (target, beside) =
            (self.layout.workspace(session(into)), self.layout.restoring(session(into)));
        restore_now(&self.source(), turn_id(turn), &beside, &target, None)?;
        Ok(target)
    }

    fn count_objects(&self) -> usize {
        fs::read_dir(self.source().root.join("snapshots/objects")).unwrap().count()
    }

    /// Lets the files' times become old enough to be relied on.
    fn settle(&self) {
        self.write("settling", b"");
        let written = fs::metadata(self.at("settling")).unwrap();
        fs::remove_file(self.at("settling")).unwrap();
        while written.modified().unwrap().elapsed().unwrap() < Duration::from_millis(20) {
            thread::yield_now();
        }
    }
}

fn session(number: u128) -> SessionId {
    SessionId::from_uuid(Uuid::from_u128(number))
}

fn turn_id(number: u128) -> TurnId {
    TurnId::from_uuid(Uuid::from_u128(number))
}

/// Everything below a folder: mode, time of change and content of each.
fn all_below(folder: &Path) -> BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        let found = fs::symlink_metadata(&path).unwrap();
        let content = if found.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        } else if found.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().as_bytes().to_vec()
        } else {
            fs::read(&path).unwrap()
        };
        let name = path.strip_prefix(folder).unwrap().to_owned();
        all.insert(name, (found.mode(), found.mtime(), found.mtime_nsec(), content));
    }
    all
}

/// Ends the writer even when the test fails.
struct UntilDropped<'a>(&'a AtomicBool);

impl Drop for UntilDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Does something while somebody else writes, round after round.
fn while_writing<T>(write: impl Fn(usize) + Sync, work: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut rounds = 1..;
            while let (false, Some(round)) = (is_over.load(Ordering::Relaxed), rounds.next()) {
                write(round);
            }
        });
        let _until = UntilDropped(&is_over);
        work()
    })
}

fn set_mode(path: PathBuf, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_was_changed_after_a_snapshot_is_restored_as_it_was() {
    let machine = Machine::new();
    fs::create_dir_all(machine.at("deep/er/empty")).unwrap();
    machine.write("deep/file", b"one\0two");
    machine.write("program", b"#!/bin/sh\n");
    set_mode(machine.at("program"), 0o4755);
    machine.write("nothing", b"");
    let pieces: Vec<u8> = (0_u32..100_000).flat_map(u32::to_le_bytes).collect();
    machine.write("in pieces", &pieces);
    machine.write("whole", &pieces.repeat(42));
    fs::write(machine.source().workspace.join(std::ffi::OsStr::from_bytes(b"\xff")), "x").unwrap();
    symlink("deep/file", machine.at("link")).unwrap();
    symlink("/nowhere", machine.at("dangling")).unwrap();
    fs::write(machine.source().home.join("state"), "remembered").unwrap();
    set_mode(machine.at("deep/er"), 0o500);
    set_mode(machine.source().workspace, 0o700);
    let before = [all_below(&machine.source().workspace), all_below(&machine.source().home)];
    machine.take(1).unwrap();

    machine.write("deep/file", b"changed");
    fs::remove_dir_all(machine.at("deep/er")).unwrap();
    fs::remove_file(machine.at("link")).unwrap();
    fs::write(machine.source().home.join("state"), "forgotten").unwrap();
    let restored = machine.restore(1, 2).unwrap();
    assert_eq!([all_below(&restored.workspace), all_below(&restored.home)], before);
    assert!(!restored.root.join("snapshots").exists());
}

#[test]
fn a_link_out_of_the_workspace_is_kept_as_a_link() {
    let machine = Machine::new();
    symlink("/etc/passwd", machine.at("passwd")).unwrap();
    symlink("/etc", machine.at("etc")).unwrap();
    assert_eq!(machine.take(1).unwrap().entries, 4);
    let restored = machine.restore(1, 2).unwrap();
    let target = |name| fs::read_link(restored.workspace.join(name)).unwrap();
    assert_eq!([target("passwd"), target("etc")], ["/etc/passwd", "/etc"].map(PathBuf::from));

    fs::remove_dir_all(machine.source().workspace).unwrap();
    symlink("/etc", machine.source().workspace).unwrap();
    machine.take(2).unwrap();
    assert!(machine.restore(2, 3).unwrap().workspace.is_symlink());
}

#[test]
fn unchanged_files_are_not_stored_twice() {
    let machine = Machine::new();
    for number in 0..50_u32 {
        machine.write(&number.to_string(), &number.to_le_bytes().repeat(1000));
    }
    machine.settle();
    let first = machine.take(1).unwrap();
    assert!(first.new_bytes > 50 * 4000);
    assert_eq!(machine.take(2).unwrap().new_bytes, 0);

    machine.write("7", b"other");
    let third = machine.take(3).unwrap();
    assert!((5..30_000).contains(&third.new_bytes), "{}", third.new_bytes);
    assert_eq!(third.turns, [1, 2, 3].map(turn_id));
    let contents = [2, 3].map(|turn| {
        let restored = machine.restore(turn, turn + 10).unwrap();
        fs::read(restored.workspace.join("7")).unwrap().len()
    });
    assert_eq!(contents, [4000, 5]);
}

#[test]
fn of_a_large_file_only_the_changed_pieces_are_stored() {
    let machine = Machine::new();
    let mut content: Vec<u8> = (0_u32..500_000).flat_map(u32::to_le_bytes).collect();
    machine.write("log", &content);
    machine.take(1).unwrap();
    content.truncate(1_900_000);
    content.extend(vec![7; 200_000]);
    machine.write("log", &content);
    assert!(machine.take(2).unwrap().new_bytes < 400_000);
    assert_eq!(fs::read(machine.restore(2, 2).unwrap().workspace.join("log")).unwrap(), content);
}

#[test]
fn files_that_change_and_vanish_meanwhile_do_not_break_a_snapshot() {
    let machine = Machine::new();
    fs::create_dir(machine.at("steady")).unwrap();
    for number in 0..200 {
        machine.write(&format!("steady/{number}"), &[1; 10_000]);
    }
    let write = |round: usize| {
        machine.write("growing", &vec![2; round % 100 * 1000]);
        machine.write("moving", b"x");
        fs::rename(machine.at("moving"), machine.at("moved")).unwrap();
        fs::create_dir_all(machine.at("folder/below")).unwrap();
        machine.write("folder/below/file", b"x");
        fs::remove_dir_all(machine.at("folder")).unwrap();
        symlink("/etc", machine.at("folder")).unwrap();
        fs::remove_file(machine.at("folder")).unwrap();
    };
    while_writing(write, || {
        for turn in 1..=20 {
            machine.take(turn).unwrap();
        }
    });
    for turn in 1..=20 {
        let restored = machine.restore(turn, 100 + turn).unwrap();
        let steady = all_below(&restored.workspace.join("steady"));
        assert_eq!(steady.values().filter(|file| file.3 == [1; 10_000]).count(), 200);
    }
}

#[test]
fn a_database_is_kept_with_its_log_as_of_one_moment() {
    let machine = Machine::new();
    let write = |round: usize| {
        let rest = format!("{round:08}").repeat(20_000);
        machine.write("a.db-wal", rest.as_bytes());
        machine.write("a.db", format!("SQLite format 3\0{rest}").as_bytes());
        // Long enough for a snapshot to come in between, most of the time.
        thread::sleep(Duration::from_millis(60));
    };
    write(0);
    machine.write("a.db-shm", b"shared memory");
    let kept: Vec<u128> = while_writing(write, || {
        let all = 1..=20;
        all.filter(|&turn| match machine.take(turn) {
            Ok(_) => true,
            Err(SnapshotError::Busy(_)) => false,
            Err(other) => panic!("{other}"),
        })
        .collect()
    });
    assert_eq!(machine.take(100).unwrap().entries, 4);
    for turn in kept.into_iter().chain([100]) {
        let restored = machine.restore(turn, 200 + turn).unwrap().workspace;
        let database = fs::read(restored.join("a.db")).unwrap();
        assert_eq!(database[16..], fs::read(restored.join("a.db-wal")).unwrap());
        assert!(!restored.join("a.db-shm").exists());
    }
}

#[test]
fn a_database_that_never_rests_is_not_kept() {
    let machine = Machine::new();
    machine.write("a.db", b"SQLite format 3\0");
    machine.write("a.db-wal", b"");
    // Writing has a pause all the same when the machine is busy with something else.
    let attempts = || (0..100).map(|_| machine.take(1)).find(Result::is_err);
    let refused = while_writing(|_| machine.write("a.db-wal", b"x"), attempts);
    assert!(matches!(refused, Some(Err(SnapshotError::Busy(_)))), "{refused:?}");
    assert_eq!(machine.restore(1, 2).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn pipes_and_sockets_are_left_out() {
    let machine = Machine::new();
    nix::unistd::mkfifo(&machine.at("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(machine.at("socket")).unwrap();
    machine.write("file", b"x");
    machine.take(1).unwrap();
    let restored = machine.restore(1, 2).unwrap();
    let names: Vec<_> =
        fs::read_dir(restored.workspace).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["file"]);
}

#[test]
fn what_is_too_much_is_not_kept() {
    let mut machine = Machine::new();
    fs::create_dir_all(machine.at(&"d/".repeat(140))).unwrap();
    assert!(matches!(machine.take(1), Err(SnapshotError::TooDeep(128))));
    fs::remove_dir_all(machine.at("d")).unwrap();
    for number in 0..10 {
        machine.write(&number.to_string(), &[0; 100]);
    }
    machine.limits.most_files = 11;
    assert!(matches!(machine.take(1), Err(SnapshotError::TooManyFiles(11))));
    machine.limits.most_files = 12;
    machine.limits.most_bytes = 999;
    assert!(matches!(machine.take(1), Err(SnapshotError::TooLarge(999))));
    machine.limits.most_bytes = 1000;
    machine.take(1).unwrap();
    machine.limits.most_bytes = 999;
    machine.take(1).unwrap_err();
    let gone = machine.restore(1, 2).unwrap_err();
    assert_eq!(gone.kind(), io::ErrorKind::NotFound, "a failure leaves nothing of the turn");
}

#[test]
fn a_snapshot_that_ran_out_of_time_makes_the_next_one_shorter() {
    let mut machine = Machine::new();
    for number in 0..100_u32 {
        machine.write(&number.to_string(), &number.to_le_bytes().repeat(30_000));
    }
    machine.settle();
    machine.limits.within = Duration::ZERO;
    assert!(matches!(machine.take(1), Err(SnapshotError::TooSlow(_))));
    machine.limits.within = Duration::from_millis(1);
    let kept = loop {
        match machine.take(2) {
            Ok(kept) => break kept,
            Err(SnapshotError::TooSlow(_)) => machine.limits.within *= 2,
            Err(other) => panic!("{other}"),
        }
    };
    assert!(kept.new_bytes < 100 * 120_000, "{kept:?}");
    assert_eq!(kept.turns, [turn_id(2)]);
    let restored = machine.restore(2, 2).unwrap();
    assert_eq!(all_below(&restored.workspace), all_below(&machine.source().workspace));
}

#[test]
fn the_oldest_snapshots_go_when_there_are_too_many_bytes() {
    let mut machine = Machine::new();
    machine.limits.kept_bytes = 500_000;
    machine.write("steady", &[9; 1000]);
    let mut kept = Vec::new();
    for turn in 1..=20 {
        machine.write("changing", format!("{turn:08}").repeat(10_000).as_bytes());
        kept = machine.take(turn).unwrap().turns;
    }
    assert!((2..=6).contains(&kept.len()), "{kept:?}");
    assert_eq!(kept.last(), Some(&turn_id(20)));
    assert!(machine.count_objects() < 40);
    assert_eq!(machine.restore(1, 2).unwrap_err().kind(), io::ErrorKind::NotFound);
    let oldest = kept.first().unwrap().uuid().as_u128();
    let restored = machine.restore(oldest, 3).unwrap();
    assert_eq!(fs::read(restored.workspace.join("steady")).unwrap(), [9; 1000]);
    let changing = format!("{oldest:08}").repeat(10_000);
    assert_eq!(fs::read_to_string(restored.workspace.join("changing")).unwrap(), changing);
}

#[test]
fn a_snapshot_taken_again_takes_the_place_of_the_first() {
    let machine = Machine::new();
    machine.write("file", b"first");
    machine.take(1).unwrap();
    machine.write("file", b"second");
    assert_eq!(machine.take(1).unwrap().turns, [turn_id(1)]);
    let restored = machine.restore(1, 2).unwrap();
    assert_eq!(fs::read(restored.workspace.join("file")).unwrap(), b"second");
}

#[test]
fn what_a_restore_left_half_done_is_done_again() {
    let machine = Machine::new();
    machine.write("file", b"whole");
    machine.take(1).unwrap();
    let half = machine.layout.restoring(session(2)).join("workspace");
    fs::create_dir_all(&half).unwrap();
    fs::write(half.join("file"), "ha").unwrap();
    fs::write(half.join("stale"), "").unwrap();
    let restored = machine.restore(1, 2).unwrap();
    assert_eq!(all_below(&restored.workspace), all_below(&machine.source().workspace));
    assert!(!machine.layout.restoring(session(2)).exists());
}

#[test]
fn a_damaged_object_is_noticed() {
    let machine = Machine::new();
    machine.write("file", b"content");
    machine.take(1).unwrap();
    let object = tree::ObjectName::of(b"content").to_string();
    fs::write(machine.source().root.join("snapshots/objects").join(object), "c0ntent").unwrap();
    assert_eq!(machine.restore(1, 2).unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert!(!machine.layout.workspace(session(2)).root.exists());
}

#[test]
fn nothing_of_a_deleted_session_comes_back() {
    let machine = Machine::new();
    machine.take(1).unwrap();
    fs::remove_dir_all(machine.source().root).unwrap();
    assert!(machine.take(2).is_err());
    assert!(!machine.source().root.exists());
    assert_eq!(machine.restore(1, 2).unwrap_err().kind(), io::ErrorKind::NotFound);
}
