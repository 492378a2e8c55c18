//! Files that `supervise` puts into the room, below its home and its workspace only.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use platform_messaging::proto::link::WriteFile;

/// The folders in which files may be written.
pub(super) struct Folders([PathBuf; 2]);

#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("{0} is outside of the room's folders")]
    Outside(String),
    #[error("{path} cannot be written: {source}")]
    Write { path: String, source: io::Error },
}

impl Folders {
    pub(super) fn new(folders: [PathBuf; 2]) -> Self {
        Self(folders)
    }

    /// Replaces the file as a whole: a harness that is reading it sees the old or the new content.
    ///
    /// A link that the agent planted is followed, which is harmless: this process has the agent's own rights.
    pub(super) fn write(&self, file: &WriteFile) -> Result<(), WriteError> {
        let path = Path::new(&file.path);
        let is_plain = path.components().all(|part| !matches!(part, Component::ParentDir));
        if !is_plain || !self.0.iter().any(|folder| path.starts_with(folder) && path != folder) {
            return Err(WriteError::Outside(file.path.clone()));
        }
        replace(path, &file.content, file.mode)
            .map_err(|source| WriteError::Write { path: file.path.clone(), source })
    }
}

fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode & 0o777);
    options.open(&beside)?.write_all(content)?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &Path) -> WriteFile {
        let path = path.to_string_lossy().into_owned();
        WriteFile { request: 1, path, content: b"content".to_vec(), mode: 0o600 }
    }

    #[test]
    fn a_file_below_home_or_workspace_is_written_with_its_folders() {
        let room = tempfile::tempdir().unwrap();
        let folders = Folders::new([room.path().join("home"), room.path().join("workspace")]);
        let path = room.path().join("home/.config/deep/file.json");
        folders.write(&file(&path)).unwrap();
        folders.write(&file(&path)).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"content");
    }

    #[test]
    fn a_file_anywhere_else_is_refused() {
        let room = tempfile::tempdir().unwrap();
        let home = room.path().join("home");
        let folders = Folders::new([home.clone(), room.path().join("workspace")]);
        for outside in
            [room.path().join("other"), home.join("../other"), home.clone(), "home/x".into()]
        {
            let refused = folders.write(&file(&outside));
            assert!(matches!(refused, Err(WriteError::Outside(_))), "{}", outside.display());
        }
    }
}
