//! Holds sandboxes to their disk limit: measures them in turn, and ends the one that has more than its environment allows.
//!
//! Measuring costs a look at every file, so it is done from time to time, and at once when the disk has become much fuller.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use platform_core::environment::Resources;
use platform_core::sandbox::{Sandbox, SandboxState};
use platform_storage::{StorageError, sandbox as rows};

use crate::backend::DiskSpace;
use crate::ending;
use crate::notes::{Loss, Notes};
use crate::service::Service;

/// The pause between two looks at how full the disk is, which cost nothing.
const LOOK_PERIOD: Duration = Duration::from_millis(250);
/// The longest pause between two measurings.
const MEASURE_PERIOD: Duration = Duration::from_secs(10);
/// What may vanish from the disk before everybody is measured.
const MUCH: DiskSpace = DiskSpace { bytes: 256 << 20, files: 20_000 };
/// Of the time, measuring takes at most one part in so many.
const SHARE_OF_TIME: u32 = 5;
/// As many as `mke2fs` makes by itself: one file for each 16 KiB.
const FILES_PER_MIB: u64 = 64;

/// What a sandbox may take of the disk.
pub fn allowed(resources: &Resources) -> DiskSpace {
    DiskSpace {
        bytes: resources.disk_mib << 20,
        files: resources.disk_mib.saturating_mul(FILES_PER_MIB),
    }
}

/// When to measure.
#[derive(Debug)]
pub struct DiskWatch {
    /// The most that was left since everybody was measured last.
    left: Option<DiskSpace>,
    measured: Instant,
    took: Duration,
}

impl DiskWatch {
    pub fn new(left: Option<DiskSpace>, now: Instant) -> Self {
        Self { left, measured: now, took: Duration::ZERO }
    }

    /// Looks at what is left now.
    pub fn is_due(&mut self, left: Option<DiskSpace>, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.measured);
        let vanished = match (&mut self.left, left) {
            (Some(most), Some(left)) => {
                // What somebody else removes meanwhile must not make room that nobody looks at.
                most.bytes = most.bytes.max(left.bytes);
                most.files = most.files.max(left.files);
                DiskSpace { bytes: most.bytes - left.bytes, files: most.files - left.files }
            }
            (None, _) | (_, None) => DiskSpace::default(),
        };
        let rested = since >= self.took * SHARE_OF_TIME;
        since >= MEASURE_PERIOD || (vanished.exceeds(MUCH) && rested)
    }

    /// Notes that everybody was measured. `left` is what was left before.
    pub fn note_measured(&mut self, left: Option<DiskSpace>, began: Instant, ended: Instant) {
        let took = ended.saturating_duration_since(began);
        *self = Self { left, measured: ended, took };
    }
}

/// Measures this replica's sandboxes until the service ends.
pub async fn keep(service: Arc<Service>) {
    let mut watch = DiskWatch::new(service.backend().free_disk(), Instant::now());
    loop {
        tokio::select! {
            () = service.shutdown().cancelled() => return,
            () = tokio::time::sleep(LOOK_PERIOD) => {}
        }
        let (left, began) = (service.backend().free_disk(), Instant::now());
        if !watch.is_due(left, began) {
            continue;
        }
        if let Err(error) = measure_all(&service).await {
            tracing::warn!(error = &error as &dyn Error, "sandboxes cannot be measured");
        }
        watch.note_measured(left, began, Instant::now());
    }
}

async fn measure_all(service: &Arc<Service>) -> Result<(), StorageError> {
    let mut connection = service.database().connection().await?;
    let living = rows::list_living(&mut connection, service.host()).await?;
    drop(connection);
    let ours = Some(service.replica().name().to_owned());
    for sandbox in living {
        let is_running = matches!(sandbox.state, SandboxState::Claimed | SandboxState::Ready);
        if is_running && Notes::of(&sandbox).replica == ours {
            measure(service, sandbox).await;
        }
    }
    Ok(())
}

async fn measure(service: &Arc<Service>, sandbox: Sandbox) {
    let (id, session) = (sandbox.id, sandbox.session_id);
    let allowed = allowed(&sandbox.spec.resources);
    let measuring = service.clone();
    let measured =
        tokio::task::spawn_blocking(move || measuring.backend().used_disk(id, session, allowed));
    let used = match measured.await {
        Ok(used) => used,
        Err(error) => {
            tracing::error!(%error, "a sandbox was not measured");
            return;
        }
    };
    if used.exceeds(allowed) {
        let loss = Loss::new("disk_full", describe(used, allowed)).for_good().sudden();
        ending::lose(service, id, loss).await;
    }
}

fn describe(used: DiskSpace, allowed: DiskSpace) -> String {
    if used == DiskSpace::BEYOND_MEASURE {
        "the session's folders lie too deep in one another to be measured; begin a new session"
            .to_owned()
    } else if used.bytes > allowed.bytes {
        format!(
            "the session's files take more than the {} MiB that its environment allows; raise disk_mib, or begin a new session",
            allowed.bytes >> 20
        )
    } else {
        format!(
            "the session has more than the {} files that its environment allows; raise disk_mib, which allows {FILES_PER_MIB} for each MiB, or begin a new session",
            allowed.files
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEFT: DiskSpace = DiskSpace { bytes: 100 << 30, files: 1_000_000 };

    fn after(milliseconds: u64, watch: &mut DiskWatch, left: DiskSpace) -> bool {
        watch.is_due(Some(left), watch.measured + Duration::from_millis(milliseconds))
    }

    #[test]
    fn a_disk_that_fills_is_measured_at_once() {
        let mut watch = DiskWatch::new(Some(LEFT), Instant::now());
        let fuller =
            |bytes, files| DiskSpace { bytes: LEFT.bytes - bytes, files: LEFT.files - files };
        assert!(!after(250, &mut watch, LEFT));
        assert!(!after(250, &mut watch, fuller(MUCH.bytes, MUCH.files)));
        assert!(after(250, &mut watch, fuller(MUCH.bytes + 1, 0)));
        assert!(after(250, &mut watch, fuller(0, MUCH.files + 1)));
        assert!(after(10_000, &mut watch, LEFT));
    }

    #[test]
    fn what_others_remove_hides_no_filler() {
        let mut watch = DiskWatch::new(Some(LEFT), Instant::now());
        let more = DiskSpace { bytes: LEFT.bytes + (1 << 30), ..LEFT };
        assert!(!after(250, &mut watch, more));
        assert!(after(500, &mut watch, LEFT));
    }

    #[test]
    fn measuring_that_takes_long_is_not_done_all_the_time() {
        let mut watch = DiskWatch::new(Some(LEFT), Instant::now());
        let began = watch.measured;
        watch.note_measured(Some(LEFT), began, began + Duration::from_secs(1));
        let full = DiskSpace { bytes: 0, files: 0 };
        assert!(!after(4_900, &mut watch, full));
        assert!(after(5_000, &mut watch, full));
    }
}
