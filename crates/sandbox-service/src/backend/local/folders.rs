//! Makes and removes the folders of sandboxes and workspaces, and the few files that stand in for the host's.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use super::layout::Layout;
use super::network::OUTSIDE;
use super::removal::remove_tree;
use crate::backend::BackendError;

pub(super) fn make_folder(path: &Path, mode: u32, owner: Option<u32>) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(mode).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    give_to(path, owner)
}

pub(super) fn give_to(path: &Path, owner: Option<u32>) -> io::Result<()> {
    match owner {
        Some(user) => chown(path, Some(user), Some(user)),
        None => Ok(()),
    }
}

pub(super) fn write_private(path: &Path, text: &str, owner: Option<u32>) -> io::Result<()> {
    use std::io::Write;

    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)?.write_all(text.as_bytes())?;
    give_to(path, owner)
}

/// The few files below `/etc` that programs expect and that must not be the host's own.
pub(super) fn write_system_files(layout: &Layout, user: Option<u32>) -> io::Result<()> {
    let user = user.unwrap_or_else(|| nix::unistd::geteuid().as_raw());
    make_folder(&layout.system(), 0o755, None)?;
    let files = [
        ("passwd", format!("agent:x:{user}:{user}:agent:/home/agent:/bin/bash\n")),
        ("group", format!("agent:x:{user}:\n")),
        ("hosts", "127.0.0.1 localhost sandbox\n".to_owned()),
        ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n".to_owned()),
        // Any address would do: all of them are the room's own first process.
        ("resolv.conf", format!("nameserver {OUTSIDE}\n")),
    ];
    for (name, text) in files {
        fs::write(layout.system().join(name), text)?;
    }
    Ok(())
}

pub(super) async fn remove_folder(path: PathBuf) -> Result<(), BackendError> {
    let removed = tokio::task::spawn_blocking(move || remove_tree(&path)).await;
    match removed {
        Ok(Err(error)) if error.kind() != io::ErrorKind::NotFound => {
            Err(BackendError::disk("removing a folder")(error))
        }
        Ok(_) => Ok(()),
        Err(failed) => Err(BackendError::disk("removing a folder")(io::Error::other(failed))),
    }
}
