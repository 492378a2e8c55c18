//! Where one node keeps everything that is its own.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::failure::NodeError;

/// Says that a directory is ours, so that purging never removes anything else.
const MARKER: &str = ".test-node";
/// containerd's and kubelet's sockets lie below it, and the name of a socket has at most 107 bytes.
const LONGEST: usize = 60;
const TAIL_BYTES: usize = 16 * 1024;

/// Logs in `log/`, pid files in `run/`, certificates and kubeconfigs in `access/`, and a folder for each part that stores.
#[derive(Debug, Clone)]
pub struct NodeDirectory {
    path: PathBuf,
}

impl NodeDirectory {
    /// Opens the directory, and makes it when it is not there.
    pub fn create(path: &Path) -> Result<Self, NodeError> {
        let path = std::path::absolute(path).map_err(NodeError::file("resolve", path))?;
        if path.as_os_str().len() > LONGEST {
            let reason =
                format!("{} is too long a name for sockets to lie below it", path.display());
            return Err(NodeError::Unable(format!("{reason}: name a shorter --data-dir")));
        }
        make_directory(&path, 0o755)?;
        let path = path.canonicalize().map_err(NodeError::file("resolve", &path))?;
        let marker = path.join(MARKER);
        if !marker.exists() {
            let mut entries = fs::read_dir(&path).map_err(NodeError::file("list", &path))?;
            if entries.next().is_some() {
                return Err(NodeError::ForeignDirectory(path));
            }
            File::create(&marker).map_err(NodeError::file("write", &marker))?;
        }
        let directory = Self { path };
        for folder in ["log", "run", "access"] {
            make_directory(&directory.path.join(folder), 0o700)?;
        }
        Ok(directory)
    }

    /// The directory when a node was ever made there.
    pub fn find(path: &Path) -> Option<Self> {
        let path = path.canonicalize().ok()?;
        path.join(MARKER).exists().then_some(Self { path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A folder for one part, made when it is not there.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf, NodeError> {
        let folder = self.path.join(name);
        make_directory(&folder, 0o755)?;
        Ok(folder)
    }

    pub(crate) fn access(&self, name: &str) -> PathBuf {
        self.path.join("access").join(name)
    }

    /// For whoever uses the node: may do everything.
    pub fn kubeconfig(&self) -> PathBuf {
        self.access("admin.kubeconfig")
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.path.join("log").join(format!("{name}.log"))
    }

    pub(crate) fn pid_file(&self, name: &str) -> PathBuf {
        self.path.join("run").join(format!("{name}.pid"))
    }

    pub(crate) fn containerd_socket(&self) -> PathBuf {
        self.path.join("containerd/containerd.sock")
    }

    /// Waits for the turn to change what runs here. The lock ends with the returned file.
    pub(crate) fn lock(&self) -> Result<File, NodeError> {
        lock(&self.path.join("lock"))
    }

    /// Removes the directory with everything in it.
    pub(crate) fn purge(&self) -> Result<(), NodeError> {
        fs::remove_dir_all(&self.path).map_err(NodeError::file("remove", &self.path))
    }
}

/// Takes an exclusive lock that ends with the returned file.
pub(crate) fn lock(path: &Path) -> Result<File, NodeError> {
    let file = append_to(path)?;
    file.lock().map_err(NodeError::file("lock", path))?;
    Ok(file)
}

/// The last lines of a log, for messages about a part that ended.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let end = bytes.get(bytes.len().saturating_sub(TAIL_BYTES)..).unwrap_or_default();
    let text = String::from_utf8_lossy(end);
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}

/// Opens a file to write at its end; only its owner may read it.
pub(crate) fn append_to(path: &Path) -> Result<File, NodeError> {
    let opened = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    opened.map_err(NodeError::file("open", path))
}

pub(crate) fn make_directory(path: &Path, mode: u32) -> Result<(), NodeError> {
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(NodeError::file("make", path))
}

/// Replaces a file as a whole, readable by its owner only.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), NodeError> {
    let sibling = path.with_extension("new");
    OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&sibling)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&sibling, path))
        .map_err(NodeError::file("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_with_other_things_in_it_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("thesis.txt"), "years of work").unwrap();
        let refused = NodeDirectory::create(directory.path());
        assert!(matches!(refused, Err(NodeError::ForeignDirectory(_))));
        assert!(NodeDirectory::find(directory.path()).is_none());
    }

    #[test]
    fn a_directory_whose_sockets_would_have_too_long_names_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let refused = NodeDirectory::create(&directory.path().join("n".repeat(80)));
        assert!(matches!(refused, Err(NodeError::Unable(_))));
    }
}
