//! How much disk a folder takes. Bind mounts have no quota, so sandboxes are measured from time to time.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// At most so many entries are looked at: beyond, the figure is a lower bound.
const MOST_ENTRIES: usize = 500_000;
/// Size of the blocks in which `stat` counts.
const BLOCK_BYTES: u64 = 512;

/// The bytes that these folders take together on disk. Links are not followed; what vanishes meanwhile is not counted.
pub fn used_bytes(folders: &[PathBuf]) -> u64 {
    let mut bytes = 0;
    let mut entries = 0;
    let mut open: Vec<PathBuf> = folders.to_vec();
    while let Some(folder) = open.pop() {
        let Ok(list) = fs::read_dir(&folder) else { continue };
        for entry in list.flatten() {
            entries += 1;
            if entries > MOST_ENTRIES {
                return bytes;
            }
            let Ok(metadata) = entry.metadata() else { continue };
            bytes += on_disk(&metadata);
            if metadata.is_dir() {
                open.push(entry.path());
            }
        }
    }
    bytes
}

fn on_disk(metadata: &Metadata) -> u64 {
    metadata.blocks() * BLOCK_BYTES
}

/// The last lines of a file, for a person who wants to know why something ended.
pub fn last_lines(file: &Path, most_lines: usize) -> String {
    use std::io::{Read, Seek, SeekFrom};

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
    use super::*;

    #[test]
    fn what_a_link_points_to_is_not_counted() {
        let folder = tempfile::tempdir().unwrap();
        let big = tempfile::tempdir().unwrap();
        fs::write(big.path().join("file"), vec![1; 1 << 20]).unwrap();
        std::os::unix::fs::symlink(big.path(), folder.path().join("link")).unwrap();
        fs::create_dir(folder.path().join("deeper")).unwrap();
        fs::write(folder.path().join("deeper/file"), vec![1; 64 << 10]).unwrap();

        let used = used_bytes(&[folder.path().to_owned()]);
        assert!((64 << 10..256 << 10).contains(&used), "{used}");
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
