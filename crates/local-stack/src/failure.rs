//! What can go wrong while a stack is started, watched or stopped.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::process::ProcessName;

/// Why a stack could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    #[error("cannot {action} {}", path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },

    #[error(
        "{} is not empty and was not made by this stack: name another directory in LAP_DATA_DIR",
        .0.display()
    )]
    ForeignDirectory(PathBuf),

    #[error("{} is not the data directory of a stack", .0.display())]
    NoDataDirectory(PathBuf),

    #[error("port {0} is taken: stop what listens there, or choose another with PORT=…")]
    PortTaken(u16),

    #[error("no free port was found on 127.0.0.1")]
    NoFreePort(#[source] io::Error),

    #[error("{0} is missing: run scripts/up or scripts/test, which install and build it")]
    ProgramMissing(String),

    #[error("{name}: {problem}")]
    Setting { name: String, problem: String },

    #[error("{command} failed:\n{output}")]
    Command { command: String, output: String },

    #[error("{process} ended while it was starting; its log {} ends with:\n{tail}", log.display())]
    EndedWhileStarting { process: ProcessName, log: PathBuf, tail: String },

    #[error(
        "{process} was not ready after {} s; its log {} ends with:\n{tail}",
        patience.as_secs(),
        log.display()
    )]
    NotReady { process: ProcessName, patience: Duration, log: PathBuf, tail: String },

    #[error("there is no process named {0}")]
    UnknownProcess(String),

    #[error("{0} does not run")]
    NotRunning(ProcessName),

    #[error("no stack runs in {}: start it with scripts/up", .0.display())]
    NoStack(PathBuf),

    #[error("cannot make the HTTP client that asks processes whether they are ready")]
    Client(#[source] reqwest::Error),
}

impl StackError {
    /// For `map_err` on file operations: `fs::read(p).map_err(StackError::file("read", p))`.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File { action, path, source }
    }
}
