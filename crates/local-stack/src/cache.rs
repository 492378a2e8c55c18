//! Tools that are the same for every clone: installed once, complete or not at all.

use std::fs::{self, File};
use std::path::PathBuf;

use tokio::process::Command;

use crate::data_directory::{lock_file, make_directory};
use crate::failure::StackError;
use crate::progress::Progress;

/// Written last. A virtual environment cannot be renamed into place (its scripts name their own
/// directory), so a tool is installed where it stays, and counts as installed from this file on.
const COMPLETE: &str = ".complete";

pub(crate) struct ToolCache {
    directory: PathBuf,
    progress: Progress,
}

impl ToolCache {
    pub(crate) fn new(directory: PathBuf, progress: Progress) -> Self {
        Self { directory, progress }
    }

    /// Where `tool` (a name with its version) lies. It may not be installed.
    pub(crate) fn path(&self, tool: &str) -> PathBuf {
        self.directory.join(tool)
    }

    /// Installs `tool` by running `steps`, unless it is there. Two stacks that start side by side wait for
    /// one another; what an interrupted installation left is removed first.
    pub(crate) async fn ensure(
        &self,
        tool: &str,
        notice: &str,
        steps: impl FnOnce(&std::path::Path) -> Vec<Command>,
    ) -> Result<PathBuf, StackError> {
        let path = self.path(tool);
        if path.join(COMPLETE).exists() {
            return Ok(path);
        }
        if let Some(parent) = path.parent() {
            make_directory(parent, 0o755)?;
        }
        let lock = path.with_file_name(format!(
            "{}.lock",
            path.file_name().unwrap_or_default().to_string_lossy()
        ));
        let _locked = lock_file(&lock, tool, &self.progress).await?;
        if path.join(COMPLETE).exists() {
            return Ok(path);
        }
        if path.exists() {
            fs::remove_dir_all(&path).map_err(StackError::file("remove", &path))?;
        }
        self.progress.step(notice);
        for command in steps(&path) {
            run(command).await?;
        }
        let complete = path.join(COMPLETE);
        File::create(&complete).map_err(StackError::file("write", &complete))?;
        Ok(path)
    }
}

/// Runs a command to its end; its output is shown only when it fails.
pub(crate) async fn run(mut command: Command) -> Result<(), StackError> {
    let shown = command.as_std().get_program().to_string_lossy().into_owned();
    let output = command.stdin(std::process::Stdio::null()).kill_on_drop(true).output().await;
    let output = output.map_err(|error| StackError::Command {
        command: shown.clone(),
        output: error.to_string(),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines.get(lines.len().saturating_sub(30)..).unwrap_or_default().join("\n");
    Err(StackError::Command { command: shown, output: tail })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, path: &std::path::Path) -> Vec<Command> {
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(path);
        vec![command]
    }

    #[tokio::test]
    async fn an_interrupted_installation_is_done_again_and_a_complete_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let cache = ToolCache::new(directory.path().to_path_buf(), Progress::quiet());

        let failed =
            cache.ensure("tool-1", "", |path| shell("mkdir $1; touch $1/half; exit 3", path));
        assert!(matches!(failed.await, Err(StackError::Command { .. })));

        let path = cache.ensure("tool-1", "", |path| shell("mkdir $1", path)).await.unwrap();
        assert!(!path.join("half").exists());

        let again = cache.ensure("tool-1", "", |path| shell("exit 3", path)).await.unwrap();
        assert_eq!(again, path);
    }
}
