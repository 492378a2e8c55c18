//! Where one stack keeps everything that is its own.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::StackError;
use crate::process::ProcessName;
use crate::progress::Progress;

/// Says that a directory is ours, so that purging never removes anything else.
const MARKER: &str = ".lap-data-directory";
/// How much of a log's end is read to show its last lines.
const TAIL_BYTES: usize = 16 * 1024;

/// `.lap/`: secrets in `env`, logs in `log/`, pid files in `run/`, and one folder for each part that stores.
#[derive(Debug, Clone)]
pub struct DataDirectory {
    path: PathBuf,
}

impl DataDirectory {
    /// Opens the directory, and makes it when it is not there.
    pub fn create(path: &Path) -> Result<Self, StackError> {
        let path = std::path::absolute(path).map_err(StackError::file("resolve", path))?;
        // Other users may pass through: PostgreSQL and the sandboxes do not run as root.
        make_directory(&path, 0o711)?;
        let path = path.canonicalize().map_err(StackError::file("resolve", &path))?;
        let marker = path.join(MARKER);
        if !marker.exists() {
            let mut entries = fs::read_dir(&path).map_err(StackError::file("list", &path))?;
            if entries.next().is_some() {
                return Err(StackError::ForeignDirectory(path));
            }
            File::create(&marker).map_err(StackError::file("write", &marker))?;
        }
        let directory = Self { path };
        make_directory(&directory.log_directory(), 0o700)?;
        make_directory(&directory.run_directory(), 0o700)?;
        Ok(directory)
    }

    /// Opens a directory that an earlier start has made.
    pub fn open(path: &Path) -> Result<Self, StackError> {
        if path.join(MARKER).exists() {
            Self::create(path)
        } else {
            Err(StackError::NoDataDirectory(path.to_path_buf()))
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn make_folder(&self, name: &str, mode: u32) -> Result<PathBuf, StackError> {
        let folder = self.folder(name);
        make_directory(&folder, mode)?;
        Ok(folder)
    }

    /// The dotenv file of generated secrets and addresses.
    pub fn environment_file(&self) -> PathBuf {
        self.path.join("env")
    }

    pub(crate) fn run_directory(&self) -> PathBuf {
        self.path.join("run")
    }

    pub(crate) fn log_directory(&self) -> PathBuf {
        self.path.join("log")
    }

    pub fn log(&self, process: &ProcessName) -> PathBuf {
        self.named_log(&process.to_string())
    }

    pub(crate) fn named_log(&self, name: &str) -> PathBuf {
        self.log_directory().join(format!("{name}.log"))
    }

    /// Opens a log to write at its end; only its owner may read it.
    pub(crate) fn append_to(path: &Path) -> Result<File, StackError> {
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)
            .map_err(StackError::file("open", path))
    }

    /// The last lines of a log, for messages about a process that ended.
    pub fn tail(path: &Path, lines: usize) -> String {
        let bytes = fs::read(path).unwrap_or_default();
        let end = bytes.get(bytes.len().saturating_sub(TAIL_BYTES)..).unwrap_or_default();
        let text = String::from_utf8_lossy(end);
        let all: Vec<&str> = text.lines().collect();
        all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
    }

    /// Waits for the turn to change what runs here. The lock ends with the returned file.
    pub(crate) async fn lock(&self, progress: &Progress) -> Result<File, StackError> {
        lock_file(&self.path.join("lock"), "this stack", progress).await
    }

    /// Removes the directory with everything in it.
    ///
    /// Sandboxes have worked in there: folders may lie thousands deep in one another, which `rm` bears and the standard library
    /// does not, and be closed to their owner.
    pub fn purge(self) -> Result<(), StackError> {
        let removed =
            run(Command::new("rm").args(["-rf", "--"]).arg(&self.path)).or_else(|_closed| {
                run(Command::new("chmod").args(["-R", "u+rwX", "--"]).arg(&self.path))?;
                run(Command::new("rm").args(["-rf", "--"]).arg(&self.path))
            });
        removed.map_err(StackError::file("remove", &self.path))
    }
}

/// Runs a program to its end; a failure carries what it said.
fn run(command: &mut Command) -> io::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    // One line for each name would be too much to read.
    Err(io::Error::other(said.lines().next().unwrap_or("it failed").to_owned()))
}

/// Takes an exclusive lock, and says so when somebody else holds it.
pub(crate) async fn lock_file(
    path: &Path,
    what: &str,
    progress: &Progress,
) -> Result<File, StackError> {
    let file = DataDirectory::append_to(path)?;
    if file.try_lock().is_ok() {
        return Ok(file);
    }
    progress.step(&format!("waiting: another process is busy with {what}"));
    let locked = tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await;
    match locked {
        Ok(result) => result.map_err(StackError::file("lock", path)),
        Err(join) => Err(StackError::file("lock", path)(io::Error::other(join))),
    }
}

pub(crate) fn make_directory(path: &Path, mode: u32) -> Result<(), StackError> {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(StackError::file("make", path))
}

/// Replaces a file as a whole, readable by its owner only: a reader sees the old text or the new one.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), StackError> {
    let sibling = path.with_extension("new");
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&sibling)
        .map_err(StackError::file("write", &sibling))?;
    file.set_permissions(fs::Permissions::from_mode(0o600))
        .and_then(|()| file.write_all(text.as_bytes()))
        .and_then(|()| file.sync_all())
        .map_err(StackError::file("write", &sibling))?;
    fs::rename(&sibling, path).map_err(StackError::file("write", path))
}

#[cfg(test)]
mod tests {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    use super::*;

    #[test]
    fn a_directory_with_other_things_in_it_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("thesis.txt"), "years of work").unwrap();
        let refused = DataDirectory::create(directory.path());
        assert!(matches!(refused, Err(StackError::ForeignDirectory(_))));
        assert!(matches!(
            DataDirectory::open(directory.path()),
            Err(StackError::NoDataDirectory(_))
        ));
    }

    #[test]
    fn a_private_file_is_readable_by_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("env");
        write_private(&path, "A='1'\n").unwrap();
        write_private(&path, "A='2'\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "A='2'\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_directory_in_which_sandboxes_have_made_what_they_like_is_removed() {
        let around = tempfile::tempdir().unwrap();
        let directory = DataDirectory::create(&around.path().join("data")).unwrap();
        let workspace = directory.make_folder("workspace", 0o700).unwrap();
        // More folders below one another than can be held open at a time, where that is the usual number.
        fs::create_dir_all(workspace.join("d/".repeat(1500))).unwrap();
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, most.min(1024), most).unwrap();
        fs::create_dir_all(workspace.join("closed/inner")).unwrap();
        fs::set_permissions(workspace.join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
        directory.purge().unwrap();
        assert!(!around.path().join("data").exists());
    }

    #[test]
    fn the_tail_is_the_last_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.log");
        fs::write(&path, "one\ntwo\nthree\n").unwrap();
        assert_eq!(DataDirectory::tail(&path, 2), "two\nthree");
    }
}
