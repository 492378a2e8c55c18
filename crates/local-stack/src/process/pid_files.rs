//! The pid files of a stack: what runs, as every command and every terminal sees it.

use std::fs;
use std::path::PathBuf;

use super::{ProcessIdentity, ProcessName};
use crate::data_directory::write_private;
use crate::failure::StackError;

/// `run/<process>.pid` holds the pid and nothing else, so that `kill $(cat …)` works; the moment the process
/// began lies beside it in `run/<process>.began`.
#[derive(Debug, Clone)]
pub(crate) struct PidFiles {
    directory: PathBuf,
}

impl PidFiles {
    pub(crate) fn in_directory(directory: PathBuf) -> Self {
        Self { directory }
    }

    fn pid_path(&self, name: ProcessName) -> PathBuf {
        self.directory.join(format!("{name}.pid"))
    }

    fn began_path(&self, name: ProcessName) -> PathBuf {
        self.directory.join(format!("{name}.began"))
    }

    pub(crate) fn record(
        &self,
        name: ProcessName,
        identity: ProcessIdentity,
    ) -> Result<(), StackError> {
        write_private(&self.began_path(name), &format!("{}\n", identity.began()))?;
        write_private(&self.pid_path(name), &format!("{}\n", identity.pid()))
    }

    pub(crate) fn forget(&self, name: ProcessName) {
        // Both may be gone already: another terminal may have stopped the same process.
        let _ = fs::remove_file(self.pid_path(name));
        let _ = fs::remove_file(self.began_path(name));
    }

    /// What was started under this name last. It may have ended.
    pub(crate) fn recorded(&self, name: ProcessName) -> Option<ProcessIdentity> {
        let number = |path: PathBuf| fs::read_to_string(path).ok();
        let pid = number(self.pid_path(name))?.trim().parse().ok()?;
        let began = number(self.began_path(name))?.trim().parse().ok()?;
        Some(ProcessIdentity::recorded(pid, began))
    }

    pub(crate) fn alive(&self, name: ProcessName) -> Option<ProcessIdentity> {
        self.recorded(name).filter(|identity| identity.is_alive())
    }

    /// Every process that has a pid file, in the order of starting.
    pub(crate) fn names(&self) -> Vec<ProcessName> {
        let Ok(entries) = fs::read_dir(&self.directory) else { return Vec::new() };
        let mut names: Vec<ProcessName> = entries
            .filter_map(|entry| {
                let file = entry.ok()?.file_name().into_string().ok()?;
                file.strip_suffix(".pid")?.parse().ok()
            })
            .collect();
        names.sort();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::super::Part;
    use super::*;

    #[test]
    fn a_pid_file_holds_only_the_pid_and_reads_back() {
        let directory = tempfile::tempdir().unwrap();
        let files = PidFiles::in_directory(directory.path().to_path_buf());
        let me = i32::try_from(std::process::id()).unwrap();
        let identity = ProcessIdentity::of_pid(me).unwrap();
        let name = ProcessName::from(Part::Worker);

        files.record(name, identity).unwrap();
        let text = fs::read_to_string(directory.path().join("worker.pid")).unwrap();
        assert_eq!(text, format!("{me}\n"));
        assert_eq!(files.alive(name), Some(identity));
        assert_eq!(files.names(), [name]);

        files.record(name, ProcessIdentity::recorded(me, identity.began() + 1)).unwrap();
        assert_eq!(files.alive(name), None);
        files.forget(name);
        assert_eq!(files.names(), []);
    }
}
