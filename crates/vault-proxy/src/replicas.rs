//! The replicas of this proxy on one machine: each sandbox's way out is open in one of them, and when that one ends, another opens it.

use std::error::Error;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use platform_runtime::presence::{self, Presence, Whereabouts};
use platform_storage::{Database, StorageError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::commands::reopen_all;
use crate::doors::Doors;

const GLANCE_PERIOD: Duration = Duration::from_millis(250);
/// How often all doors are looked at even if no replica has ended.
const PERIOD: Duration = Duration::from_mins(1);

/// This replica, and where the others leave their marks.
pub struct Replica {
    name: String,
    marks: PathBuf,
    presence: Presence,
    /// The others that lived when they were last looked for.
    known: Vec<String>,
}

impl Replica {
    /// `name` tells it from all others, earlier ones too.
    pub fn announce(data: &Path, name: String) -> io::Result<Self> {
        let marks = data.join("proxies");
        DirBuilder::new().recursive(true).mode(0o711).create(data)?;
        match DirBuilder::new().mode(0o700).create(&marks) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let marks = fs::canonicalize(marks)?;
        let presence = Presence::announce(&marks, &name)?;
        let mut replica = Self { name, marks, presence, known: Vec::new() };
        (replica.known, _) = replica.others();
        Ok(replica)
    }

    /// Opens what a replica leaves behind when it ends, until this one ends itself. It counts as ended once none of its doors takes
    /// connections any more.
    pub async fn keep(
        mut self,
        doors: Doors,
        database: Database,
        host: String,
        shutdown: CancellationToken,
    ) {
        let mut looked = Instant::now();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(GLANCE_PERIOD) => {}
            }
            let (living, dead) = self.others();
            let has_ended = self.known.iter().any(|name| !living.contains(name));
            if !has_ended && dead.is_empty() && looked.elapsed() < PERIOD {
                self.known = living;
                continue;
            }
            doors.sweep();
            let reopened: Result<(), StorageError> = reopen_all(&doors, &database, &host).await;
            if let Err(error) = reopened {
                tracing::warn!(error = &error as &dyn Error, "ways out cannot be looked for");
                continue;
            }
            (self.known, looked) = (living, Instant::now());
            for name in dead {
                presence::forget(&self.marks, &name);
            }
        }
        doors.all_retired().await;
        drop(self.presence);
    }

    fn others(&self) -> (Vec<String>, Vec<String>) {
        let names = presence::names(&self.marks).into_iter().filter(|name| *name != self.name);
        names.partition(|name| presence::whereabouts(&self.marks, name) == Whereabouts::Present)
    }
}
