//! Which folder a path leads to.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A folder, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::supervise) struct Place {
    device: u64,
    inode: u64,
}

impl Place {
    pub(in crate::supervise) fn of(folder: &Path) -> io::Result<Self> {
        let looked = std::fs::metadata(folder)?;
        Ok(Self { device: looked.dev(), inode: looked.ino() })
    }
}
