//! What takes minutes to make and is the same for every clone: made once, complete or not at all.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::directory::{lock, make_directory};
use crate::failure::NodeError;
use crate::progress::Progress;

/// Written last: something counts as made from this file on.
const COMPLETE: &str = ".complete";
/// How every folder of this program's begins, beside those of others.
const PREFIX: &str = "test-node-";

/// A folder with a folder in it for each thing and version.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
    progress: Progress,
}

impl Cache {
    #[must_use]
    pub fn new(directory: PathBuf, progress: Progress) -> Self {
        Self { directory, progress }
    }

    /// Where something that another program keeps here lies.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Whether it was made.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.path(&format!("{PREFIX}{name}")).join(COMPLETE).exists()
    }

    /// Makes what has this name (and version) by `make`, in the folder that it is given, unless it is there. Whoever
    /// comes meanwhile waits; what an interrupted run left is removed first.
    pub(crate) fn ensure(
        &self,
        name: &str,
        notice: &str,
        make: impl FnOnce(&Path) -> Result<(), NodeError>,
    ) -> Result<PathBuf, NodeError> {
        let path = self.path(&format!("{PREFIX}{name}"));
        let complete = path.join(COMPLETE);
        if complete.exists() {
            return Ok(path);
        }
        make_directory(&self.directory, 0o755)?;
        let _locked = lock(&self.directory.join(format!("{PREFIX}{name}.lock")))?;
        if complete.exists() {
            return Ok(path);
        }
        if path.exists() {
            fs::remove_dir_all(&path).map_err(NodeError::file("remove", &path))?;
        }
        make_directory(&path, 0o755)?;
        self.progress.step(notice);
        make(&path)?;
        File::create(&complete).map_err(NodeError::file("write", &complete))?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_interrupted_is_made_again_and_what_is_complete_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("c"), Progress::since(Duration::ZERO));
        let failed = cache.ensure("tool-1", "half", |path| {
            fs::write(path.join("half"), "").unwrap();
            Err(NodeError::Unable("interrupted".to_owned()))
        });
        assert!(failed.is_err() && !cache.has("tool-1"));

        let path = cache.ensure("tool-1", "whole", |_| Ok(())).unwrap();
        assert!(!path.join("half").exists() && cache.has("tool-1"));
        let again = cache.ensure("tool-1", "never", |_| panic!("made again")).unwrap();
        assert_eq!(again, path);
    }
}
