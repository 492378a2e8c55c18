//! The file that is there as long as the link is, for whoever asks whether this sandbox can be reached.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

/// Without a path nobody asks.
pub(super) struct LinkedFile(Option<PathBuf>);

impl LinkedFile {
    /// Removes what a process before this one may have left.
    pub(super) fn new(path: Option<PathBuf>) -> Self {
        let file = Self(path);
        file.remove();
        file
    }

    pub(super) fn write(&self) {
        let Some(path) = &self.0 else { return };
        if let Err(error) = fs::write(path, "") {
            tracing::warn!(%error, path = %path.display(), "it cannot be shown that there is a link");
        }
    }

    pub(super) fn remove(&self) {
        let Some(path) = &self.0 else { return };
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(%error, path = %path.display(), "it cannot be shown that there is no link");
            }
            Ok(()) | Err(_) => {}
        }
    }
}
