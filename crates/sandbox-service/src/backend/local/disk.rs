//! How much of the disk a sandbox takes. Bind mounts have no quota, so sandboxes are measured from time to time.
//!
//! Somebody who is not trusted works in the folders meanwhile: every step goes from an open folder to a name in it, never through a link.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, stat, statat, statvfs,
};

use crate::backend::DiskSpace;

/// Folders below one another that are held open at a time. What lies deeper counts as more than any sandbox is allowed: there is
/// no way to measure it, and no use for it.
const DEEPEST: usize = 512;
/// Size of the blocks in which `stat` counts.
const BLOCK_BYTES: u64 = 512;
/// At most so many files without a name are looked for in one process.
const MOST_NAMELESS: usize = 20_000;

/// What is left on the file system of a folder for those who are not root.
pub fn free(folder: &Path) -> Option<DiskSpace> {
    let all = statvfs(folder).ok()?;
    // Some file systems make as many inodes as are wanted, and count none.
    let files = if all.f_files == 0 { u64::MAX } else { all.f_favail };
    Some(DiskSpace { bytes: all.f_bavail.saturating_mul(all.f_frsize), files })
}

/// What these folders take together, and the files which these processes have open in there but that have no name any more. The
/// figure is exact as far as `allowed`. What vanishes meanwhile is not counted.
pub fn used(folders: &[PathBuf], processes: &[i32], allowed: DiskSpace) -> DiskSpace {
    let mut count = Count { used: DiskSpace::default(), seen: BTreeSet::new(), allowed };
    let mut device = None;
    for folder in folders {
        let Ok(opened) = openat(CWD, folder, FOLDER, Mode::empty()) else { continue };
        device = device.or_else(|| fstat(&opened).ok().map(|stat| stat.st_dev));
        count.folder(opened);
    }
    if let Some(device) = device {
        for pid in processes {
            count.nameless(&format!("/proc/{pid}/fd"), &names(&format!("/proc/{pid}/fd")), device);
            count.nameless(&format!("/proc/{pid}/map_files"), &deleted_maps(*pid), device);
        }
    }
    count.used
}

const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

struct Count {
    used: DiskSpace,
    /// Files that may be met again: under another name, or open in another process.
    seen: BTreeSet<(u64, u64)>,
    allowed: DiskSpace,
}

impl Count {
    fn is_over(&self) -> bool {
        self.used.exceeds(self.allowed)
    }

    fn folder(&mut self, folder: OwnedFd) {
        let mut open = Vec::from_iter(Dir::new(folder).ok());
        while let Some(folder) = open.last_mut() {
            if self.is_over() {
                return;
            }
            let Some(Ok(entry)) = folder.read() else {
                open.pop();
                continue;
            };
            let name = entry.file_name();
            if name.to_bytes() == b"." || name.to_bytes() == b".." {
                continue;
            }
            let Ok(parent) = folder.fd() else { continue };
            let Ok(stat) = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            self.add(&stat);
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                continue;
            }
            let Ok(inner) = openat(parent, name, FOLDER, Mode::empty()).and_then(Dir::new) else {
                continue;
            };
            if open.len() >= DEEPEST {
                self.used = DiskSpace::BEYOND_MEASURE;
                return;
            }
            open.push(inner);
        }
    }

    fn add(&mut self, stat: &Stat) {
        let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if !is_folder && stat.st_nlink != 1 && !self.seen.insert((stat.st_dev, stat.st_ino)) {
            return;
        }
        let blocks = u64::try_from(stat.st_blocks).unwrap_or_default();
        self.used.bytes = self.used.bytes.saturating_add(blocks.saturating_mul(BLOCK_BYTES));
        self.used.files = self.used.files.saturating_add(1);
    }

    /// `links` are names in a folder of `/proc` whose entries lead to open files, whatever these are called.
    fn nameless(&mut self, folder: &str, links: &[String], device: u64) {
        for link in links.iter().take(MOST_NAMELESS) {
            if self.is_over() {
                return;
            }
            let Ok(stat) = stat(format!("{folder}/{link}")) else { continue };
            if stat.st_nlink == 0 && stat.st_dev == device {
                self.add(&stat);
            }
        }
    }
}

fn names(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// The names in `map_files` of what a process has in memory of files that were removed.
fn deleted_maps(pid: i32) -> Vec<String> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let deleted = maps.lines().filter(|line| line.ends_with(" (deleted)"));
    deleted.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// The last lines of a file, for a person who wants to know why something ended.
pub fn last_lines(file: &Path, most_lines: usize) -> String {
    const MOST_BYTES: u64 = 16 * 1024;
    let Ok(mut opened) = fs::File::open(file) else { return String::new() };
    let length = opened.metadata().map_or(0, |metadata| metadata.len());
    if opened.seek(SeekFrom::Start(length.saturating_sub(MOST_BYTES))).is_err() {
        return String::new();
    }
    let mut bytes = Vec::new();
    // The file may grow meanwhile: what comes after the end seen above is left alone.
    let _read = opened.take(MOST_BYTES).read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(most_lines);
    lines.get(first..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const PLENTY: DiskSpace = DiskSpace { bytes: u64::MAX - 1, files: u64::MAX - 1 };

    fn used_in(folder: &Path) -> DiskSpace {
        used(&[folder.to_owned()], &[], PLENTY)
    }

    #[test]
    fn what_a_link_points_to_is_not_counted() {
        let folder = tempfile::tempdir().unwrap();
        let big = tempfile::tempdir().unwrap();
        fs::write(big.path().join("file"), vec![1; 1 << 20]).unwrap();
        symlink(big.path(), folder.path().join("link")).unwrap();
        fs::create_dir(folder.path().join("deeper")).unwrap();
        fs::write(folder.path().join("deeper/file"), vec![1; 64 << 10]).unwrap();

        let used = used_in(folder.path());
        assert!((64 << 10..256 << 10).contains(&used.bytes), "{used:?}");
        assert_eq!(used.files, 3);
    }

    #[test]
    fn a_file_with_two_names_counts_once_and_a_hole_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), vec![1; 1 << 20]).unwrap();
        fs::hard_link(folder.path().join("file"), folder.path().join("name")).unwrap();
        let sparse = fs::File::create(folder.path().join("sparse")).unwrap();
        sparse.set_len(1 << 40).unwrap();
        let used = used_in(folder.path());
        assert!((1 << 20..(1 << 20) + (64 << 10)).contains(&used.bytes), "{used:?}");
        assert_eq!(used.files, 2);
    }

    #[test]
    fn a_file_without_a_name_counts_as_long_as_a_process_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, vec![1; 1 << 20]).unwrap();
        let opened = fs::File::open(&file).unwrap();
        fs::remove_file(&file).unwrap();
        let ourselves = [i32::try_from(std::process::id()).unwrap()];
        let measure = || used(&[folder.path().to_owned()], &ourselves, PLENTY).bytes;
        // Other tests of this process may have such files too, and smaller ones.
        assert!(measure() >= 1 << 20);
        drop(opened);
        assert!(measure() < 1 << 20);
    }

    #[test]
    fn what_lies_too_deep_counts_as_too_much() {
        let folder = tempfile::tempdir().unwrap();
        let mut parent = openat(CWD, folder.path(), FOLDER, Mode::empty()).unwrap();
        for _ in 0..=DEEPEST {
            rustix::fs::mkdirat(&parent, "d", Mode::RWXU).unwrap();
            parent = openat(&parent, "d", FOLDER, Mode::empty()).unwrap();
        }
        assert!(used_in(folder.path()).exceeds(PLENTY));
    }

    #[test]
    fn counting_stops_at_what_is_too_much() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..100 {
            fs::write(folder.path().join(number.to_string()), "").unwrap();
        }
        let allowed = DiskSpace { bytes: u64::MAX, files: 10 };
        assert_eq!(used(&[folder.path().to_owned()], &[], allowed).files, 11);
    }

    #[test]
    fn only_the_last_lines_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log");
        let lines: Vec<String> = (1..=9000).map(|number| format!("line {number}")).collect();
        fs::write(&file, lines.join("\n")).unwrap();
        assert_eq!(last_lines(&file, 2), "line 8999\nline 9000");
        assert_eq!(last_lines(&folder.path().join("absent"), 2), "");
    }
}
