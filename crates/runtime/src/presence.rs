//! Which processes of a service live on this machine: each holds a lock on a file that bears its name. The kernel gives the lock back
//! when the process ends, however it ends, so a lock that can be had is a death that is certain.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

const EXTENSION: &str = "lock";

/// This process's own mark, from its making to its dropping or to the end of the process.
#[derive(Debug)]
pub struct Presence {
    file: PathBuf,
    _lock: File,
}

impl Presence {
    /// Makes the mark in a folder that exists. It has its name only once it is locked, so that nobody finds it without an owner.
    pub fn announce(folder: &Path, name: &str) -> io::Result<Self> {
        let being_made = folder.join(format!("{name}.new"));
        let file = mark(folder, name);
        let lock = File::create(&being_made)?;
        lock.lock()?;
        fs::rename(&being_made, &file)?;
        Ok(Self { file, _lock: lock })
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let _removed_by_another = fs::remove_file(&self.file);
    }
}

/// What is known of the process of some name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whereabouts {
    Present,
    /// It ended without taking its mark with it.
    Dead,
    /// There is no mark: it ended in order, or never was.
    Unknown,
}

/// Looks for the process of that name. One that cannot be asked for counts as present.
pub fn whereabouts(folder: &Path, name: &str) -> Whereabouts {
    match File::open(mark(folder, name)) {
        Ok(file) => whereabouts_of(&file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Whereabouts::Unknown,
        Err(_) => Whereabouts::Present,
    }
}

/// The names of all that have a mark.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let marks = entries.map(|entry| entry.path());
    let marks = marks.filter(|path| path.extension().is_some_and(|end| end == EXTENSION));
    marks.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect()
}

/// Removes the mark of a dead process, once everything is done that its death calls for.
pub fn forget(folder: &Path, name: &str) {
    let _removed_by_another = fs::remove_file(mark(folder, name));
}

/// The right to do something that only one process of this machine does at a time, for as long as the answer is kept.
pub fn alone(folder: &Path, what: &str) -> Option<File> {
    let file = File::create(folder.join(format!("{what}.alone"))).ok()?;
    file.try_lock().ok().map(|()| file)
}

fn mark(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.{EXTENSION}"))
}

/// Shared, so that two who look at once do not take each other for the owner.
fn whereabouts_of(file: &File) -> Whereabouts {
    match file.try_lock_shared() {
        Ok(()) => Whereabouts::Dead,
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => Whereabouts::Present,
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_is_present_until_its_mark_is_dropped() {
        let folder = std::env::temp_dir().join(uuid::Uuid::new_v4().to_string());
        fs::create_dir(&folder).unwrap();
        let presence = Presence::announce(&folder, "one").unwrap();
        assert_eq!(whereabouts(&folder, "one"), Whereabouts::Present);
        assert_eq!(names(&folder), ["one"]);
        drop(presence);
        assert_eq!(whereabouts(&folder, "one"), Whereabouts::Unknown);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_process_that_left_its_mark_behind_is_found_dead() {
        let folder = std::env::temp_dir().join(uuid::Uuid::new_v4().to_string());
        fs::create_dir(&folder).unwrap();
        let file = mark(&folder, "other");
        let mut other = Command::new("flock")
            .arg(&file)
            .args(["sh", "-c", "echo locked; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0; 6];
        io::Read::read_exact(other.stdout.as_mut().unwrap(), &mut said).unwrap();
        assert_eq!(whereabouts(&folder, "other"), Whereabouts::Present);
        drop(other.stdin.take());
        other.wait().unwrap();
        assert_eq!(whereabouts(&folder, "other"), Whereabouts::Dead);
        forget(&folder, "other");
        assert_eq!(whereabouts(&folder, "other"), Whereabouts::Unknown);
        fs::remove_dir_all(&folder).unwrap();
    }
}
