//! Ends sandboxes that outlived the service that started them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::data_directory::DataDirectory;
use crate::process::ProcessIdentity;

/// What sandbox-service keeps: `sandboxes/<sandbox>/<room>.pid`, beside `workspaces` and `links`.
pub(crate) const FOLDER: &str = "sandboxes";
/// File times and the boot time are less exact than the processes' own.
const INEXACT: Duration = Duration::from_secs(2);

/// Ends every sandbox of this stack. Their workspaces stay.
pub(crate) fn end_all(data: &DataDirectory) {
    for file in pid_files(&data.folder(FOLDER).join("sandboxes")) {
        if let Some(identity) = sandbox_process(&file) {
            identity.kill_group();
        }
    }
}

fn pid_files(directory: &Path) -> Vec<PathBuf> {
    let list = |directory: &Path| {
        let entries = fs::read_dir(directory).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.path())).collect::<Vec<_>>()
    };
    let files = list(directory).into_iter().flat_map(|sandbox| list(&sandbox));
    files.filter(|file| file.extension().is_some_and(|extension| extension == "pid")).collect()
}

/// The process that wrote the file. One that began after the file was written has only the same pid.
fn sandbox_process(file: &Path) -> Option<ProcessIdentity> {
    let pid = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    let written = fs::metadata(file).ok()?.modified().ok()?;
    let identity = ProcessIdentity::of_pid(pid)?;
    (identity.began_at()? <= written + INEXACT).then_some(identity)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::process::Command;
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_process_younger_than_its_pid_file_is_a_stranger() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("init.pid");
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        fs::write(&path, child.id().to_string()).unwrap();
        assert!(sandbox_process(&path).is_some());

        let long_ago = SystemTime::now() - Duration::from_hours(1);
        File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
        assert_eq!(sandbox_process(&path), None);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
