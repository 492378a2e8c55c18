//! What the kernel holds each process of a room to, whether there are cgroups or not.

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use platform_core::environment::Resources;
use serde::{Deserialize, Serialize};

/// For all sandboxes of one user together: the kernel counts a room's processes as its user's too.
const MOST_PROCESSES_WITHOUT_CGROUP: u64 = 8192;
const MOST_OPEN_FILES: u64 = 16_384;
const LOCKED_BYTES: u64 = 8 << 20;
const MESSAGE_QUEUE_BYTES: u64 = 800 << 10;

/// Limits that the processes of a room inherit, and that none of them can raise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessLimits {
    pub largest_file_bytes: u64,
    pub open_files: u64,
    /// Only where no cgroup counts them.
    pub processes: Option<u64>,
    pub locked_bytes: u64,
    pub message_queue_bytes: u64,
    /// What a process had in memory goes nowhere when it crashes: one byte is too little for a file, and tells the kernel to start no
    /// program for it either (`man 5 core`).
    pub core_bytes: u64,
}

impl ProcessLimits {
    pub fn for_room(resources: &Resources, has_process_cgroup: bool) -> Self {
        Self {
            largest_file_bytes: resources.disk_mib << 20,
            open_files: MOST_OPEN_FILES,
            processes: (!has_process_cgroup).then_some(MOST_PROCESSES_WITHOUT_CGROUP),
            locked_bytes: LOCKED_BYTES,
            message_queue_bytes: MESSAGE_QUEUE_BYTES,
            core_bytes: 1,
        }
    }

    /// Applies them to this process and all that come from it.
    pub fn apply(&self) -> Result<(), Errno> {
        let limits = [
            (Resource::RLIMIT_FSIZE, Some(self.largest_file_bytes)),
            (Resource::RLIMIT_NOFILE, Some(self.open_files)),
            (Resource::RLIMIT_NPROC, self.processes),
            (Resource::RLIMIT_MEMLOCK, Some(self.locked_bytes)),
            (Resource::RLIMIT_MSGQUEUE, Some(self.message_queue_bytes)),
            (Resource::RLIMIT_CORE, Some(self.core_bytes)),
        ];
        for (resource, most) in limits {
            let Some(most) = most else { continue };
            // What this process is held to itself is kept: only root may raise it.
            let (_, inherited) = getrlimit(resource)?;
            setrlimit(resource, most.min(inherited), most.min(inherited))?;
        }
        Ok(())
    }
}
