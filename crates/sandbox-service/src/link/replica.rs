//! The replicas of this service on its machine: their names, the sockets at which sandboxes reach them, and whether they live.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use platform_runtime::presence::{self, Presence, Whereabouts};
use tokio::net::{UnixListener, UnixStream};

/// One running process of this service. Its socket and its mark bear its name.
#[derive(Debug)]
pub struct Replica {
    name: String,
    links: PathBuf,
    marks: PathBuf,
    _presence: Presence,
}

impl Replica {
    /// `unique` tells this process from all earlier ones. It counts as living until the last of it is dropped.
    pub fn announce(links: PathBuf, marks: PathBuf, unique: &str) -> io::Result<Self> {
        let name = format!("{}-{unique}", std::process::id());
        let presence = Presence::announce(&marks, &name)?;
        Ok(Self { name, links, marks, _presence: presence })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the replicas of this machine leave their marks.
    pub fn marks(&self) -> &Path {
        &self.marks
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
        let _absent_is_fine = fs::remove_file(self.socket(&self.name));
    }

    /// Whether a replica of that name still runs on this machine. Only one that is dead for certain counts as such.
    pub async fn is_alive(&self, name: &str) -> bool {
        match presence::whereabouts(&self.marks, name) {
            Whereabouts::Present => true,
            Whereabouts::Dead => false,
            // Ended in order; or of a version that left no marks, and known by its socket alone.
            Whereabouts::Unknown => self.answers(name).await,
        }
    }

    /// Whether a replica of that name ran on this machine and was killed.
    pub fn is_known_dead(&self, name: &str) -> bool {
        presence::whereabouts(&self.marks, name) == Whereabouts::Dead
    }

    /// The other replicas that left a mark.
    pub fn others(&self) -> Others {
        let mut others = Others::default();
        for name in presence::names(&self.marks) {
            if name == self.name {
                continue;
            }
            match presence::whereabouts(&self.marks, &name) {
                Whereabouts::Present => others.living.push(name),
                Whereabouts::Dead => others.dead.push(name),
                Whereabouts::Unknown => {}
            }
        }
        others
    }

    /// Removes what a dead replica left behind, once its sandboxes were taken over.
    pub fn forget(&self, name: &str) {
        let _removed_by_another = fs::remove_file(self.socket(name));
        presence::forget(&self.marks, name);
    }

    /// Removes the sockets of replicas that are gone.
    pub async fn remove_dead(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.links)?.flatten() {
            let path = entry.path();
            let Some(name) = path.file_stem().and_then(|name| name.to_str()) else { continue };
            if name != self.name && !self.is_alive(name).await {
                let _removed_by_another = fs::remove_file(&path);
            }
        }
        Ok(())
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.links.join(format!("{name}.sock"))
    }

    async fn answers(&self, name: &str) -> bool {
        let Ok(folder) = File::open(&self.links) else { return false };
        UnixStream::connect(short(&folder, name)).await.is_ok()
    }
}

/// The other replicas of a machine.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Others {
    pub living: Vec<String>,
    /// Killed, and not forgotten yet.
    pub dead: Vec<String>,
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
        let marks = tempfile::tempdir().unwrap();
        let announce = |unique| {
            Replica::announce(folder.path().to_owned(), marks.path().to_owned(), unique).unwrap()
        };
        let (living, dead) = (announce("living"), announce("dead"));
        let _listener = living.listen(None).unwrap();
        drop(dead.listen(None).unwrap());
        assert_eq!(living.others().living, [dead.name()]);
        let dead_name = dead.name().to_owned();
        drop(dead);

        assert!(living.is_alive(living.name()).await);
        assert!(!living.is_alive(&dead_name).await);
        assert_eq!(living.others(), Others::default());
        living.remove_dead().await.unwrap();
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().flatten().collect();
        assert_eq!(left.len(), 1);
    }
}
