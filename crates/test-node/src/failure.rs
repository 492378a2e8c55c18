//! What can go wrong while a node is started, filled or stopped.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why a node could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error("cannot {action} {}", path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },

    #[error("this machine cannot run a node: {0}")]
    Unable(String),

    #[error("{} is not empty and was not made by a test node: name another --data-dir", .0.display())]
    ForeignDirectory(PathBuf),

    #[error("{command} failed:\n{output}")]
    Command { command: String, output: String },

    #[error("{part} ended while it was starting; its log {} ends with:\n{tail}", log.display())]
    EndedWhileStarting { part: &'static str, log: PathBuf, tail: String },

    #[error("{what}: not so after {} s; last seen:\n{last}", patience.as_secs())]
    NotSo { what: String, patience: Duration, last: String },

    #[error("a certificate cannot be made")]
    Certificate(#[from] rcgen::Error),

    #[error("{} says something that cannot be read: {problem}", path.display())]
    Unreadable { path: PathBuf, problem: String },
}

impl NodeError {
    /// For `map_err` on file operations: `fs::read(p).map_err(NodeError::file("read", p))`.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File { action, path, source }
    }
}
