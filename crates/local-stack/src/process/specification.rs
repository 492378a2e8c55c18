//! Everything that is needed to start one process.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::{ProcessIdentity, ProcessName, Readiness};
use crate::data_directory::DataDirectory;
use crate::failure::StackError;

#[derive(Debug, Clone)]
pub(crate) struct ProcessSpecification {
    pub(crate) name: ProcessName,
    /// The program and its arguments. No secret may stand here: everybody can read command lines.
    pub(crate) command: Vec<OsString>,
    /// All that the process sees: nothing is inherited.
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) working_directory: PathBuf,
    pub(crate) readiness: Readiness,
    /// How long it may take to become ready.
    pub(crate) patience: Duration,
}

impl ProcessSpecification {
    /// Starts the process in a session of its own, so that neither Ctrl-C nor the end of a terminal reaches it.
    pub(crate) fn spawn(&self, log: &Path) -> Result<ProcessIdentity, StackError> {
        let output = DataDirectory::append_to(log)?;
        let errors = output.try_clone().map_err(StackError::file("open", log))?;
        // setsid executes the program in its own place (it forks only for a group's leader, which a fresh
        // child is not), so the child's pid is the program's.
        let child = Command::new("setsid")
            .args(&self.command)
            .env_clear()
            .envs(&self.environment)
            .current_dir(&self.working_directory)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(StackError::file("start", Path::new("setsid")))?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        pid.and_then(ProcessIdentity::of_pid).ok_or_else(|| StackError::EndedWhileStarting {
            process: self.name,
            log: log.to_path_buf(),
            tail: DataDirectory::tail(log, 20),
        })
    }
}

/// The command of a process, from anything that can be part of one.
pub(crate) fn command<const N: usize>(parts: [&dyn AsRef<std::ffi::OsStr>; N]) -> Vec<OsString> {
    parts.into_iter().map(|part| part.as_ref().to_os_string()).collect()
}
