//! The name of a replica of this service on its machine, and the socket at which sandboxes reach it.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// One running process of this service. Its socket bears its name.
#[derive(Debug, Clone)]
pub struct Replica {
    name: String,
    links: PathBuf,
}

impl Replica {
    /// `unique` tells this process from all earlier ones.
    pub fn new(links: PathBuf, unique: &str) -> Self {
        Self { name: format!("{}-{unique}", std::process::id()), links }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Listens for sandboxes. Only `user`, as whom they run, can connect.
    pub fn listen(&self, user: Option<u32>) -> io::Result<UnixListener> {
        let folder = File::open(&self.links)?;
        let socket = short(&folder, &self.name);
        let listener = UnixListener::bind(&socket)?;
        fs::set_permissions(&socket, Permissions::from_mode(0o600))?;
        if let Some(user) = user {
            chown(&socket, Some(user), Some(user))?;
        }
        Ok(listener)
    }

    /// Takes this replica's socket away, so that sandboxes dial another one.
    pub fn withdraw(&self) {
        let _absent_is_fine = fs::remove_file(self.links.join(format!("{}.sock", self.name)));
    }

    /// Whether a replica of that name still answers on this machine.
    pub async fn is_alive(&self, name: &str) -> bool {
        name == self.name || self.answers(name).await
    }

    /// Removes the sockets of replicas that are gone.
    pub async fn remove_dead(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.links)?.flatten() {
            let path = entry.path();
            let Some(name) = path.file_stem().and_then(|name| name.to_str()) else { continue };
            if name != self.name && !self.answers(name).await {
                let _removed_by_another = fs::remove_file(&path);
            }
        }
        Ok(())
    }

    async fn answers(&self, name: &str) -> bool {
        let Ok(folder) = File::open(&self.links) else { return false };
        UnixStream::connect(short(&folder, name)).await.is_ok()
    }
}

/// A path short enough for a unix socket's address, however deep the data directory lies.
fn short(folder: &File, name: &str) -> PathBuf {
    Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(format!("{name}.sock"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_socket_of_a_dead_replica_is_removed_and_that_of_a_living_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        let living = Replica::new(folder.path().to_owned(), "living");
        let dead = Replica::new(folder.path().to_owned(), "dead");
        let _listener = living.listen(None).unwrap();
        drop(dead.listen(None).unwrap());

        assert!(living.is_alive(living.name()).await);
        assert!(!living.is_alive(dead.name()).await);
        living.remove_dead().await.unwrap();
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().flatten().collect();
        assert_eq!(left.len(), 1);
    }
}
