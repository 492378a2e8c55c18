//! What the kernel holds a sandbox to: memory, processes and processor time by cgroup, version 1 or 2, where it may be written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use platform_core::environment::Resources;
use platform_core::id::SandboxId;
use serde::Serialize;

use super::leftover::names_in;
use super::process_limits::ProcessLimits;
use super::seccomp;

const CGROUP_ROOT: &str = "/sys/fs/cgroup";
/// Holds a group per sandbox, below the service's own group.
const PARENT: &str = "lap-sandboxes";
const CPU_PERIOD_MICROSECONDS: u64 = 100_000;
/// Of a disk that is busy, half of what a service gets, whose weight is 100.
const DISK_WEIGHT: u64 = 50;

/// The limits that can be enforced on this machine.
#[derive(Debug)]
pub struct Limits {
    controllers: Vec<Controller>,
    filters_system_calls: bool,
}

#[derive(Debug, Clone)]
struct Controller {
    limits: Limited,
    version: Version,
    /// Where a group per sandbox can be made.
    parent: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limited {
    Memory,
    Processes,
    Cpu,
    /// A sandbox's share of a busy disk.
    DiskShare,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// Which limits hold and by what means, for logs and for a sandbox's notes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LimitsReport {
    pub memory: &'static str,
    pub processes: &'static str,
    pub cpu: &'static str,
    pub disk_share: &'static str,
    pub disk: &'static str,
    pub system_calls: &'static str,
}

impl Limited {
    const ALL: [Self; 4] = [Self::Memory, Self::Processes, Self::Cpu, Self::DiskShare];

    fn controller_name(self, version: Version) -> &'static str {
        match (self, version) {
            (Self::Memory, _) => "memory",
            (Self::Processes, _) => "pids",
            (Self::Cpu, _) => "cpu",
            (Self::DiskShare, Version::One) => "blkio",
            (Self::DiskShare, Version::Two) => "io",
        }
    }

    /// The file that holds the limit, and what is written there.
    fn setting(self, version: Version, resources: &Resources) -> (&'static str, String) {
        let quota = resources.cpu_millis * CPU_PERIOD_MICROSECONDS / 1000;
        let bytes = resources.memory_mib << 20;
        match (self, version) {
            (Self::Memory, Version::One) => ("memory.limit_in_bytes", bytes.to_string()),
            (Self::Memory, Version::Two) => ("memory.max", bytes.to_string()),
            (Self::Processes, _) => ("pids.max", resources.processes.to_string()),
            (Self::Cpu, Version::One) => ("cpu.cfs_quota_us", quota.to_string()),
            (Self::Cpu, Version::Two) => ("cpu.max", format!("{quota} {CPU_PERIOD_MICROSECONDS}")),
            (Self::DiskShare, Version::One) => ("blkio.bfq.weight", DISK_WEIGHT.to_string()),
            (Self::DiskShare, Version::Two) => ("io.weight", format!("default {DISK_WEIGHT}")),
        }
    }

    /// What else is written where the kernel has it: no memory in swap, which would be memory beside the limit.
    fn further_setting(
        self,
        version: Version,
        resources: &Resources,
    ) -> Option<(&'static str, String)> {
        let bytes = resources.memory_mib << 20;
        match (self, version) {
            (Self::Memory, Version::One) => {
                Some(("memory.memsw.limit_in_bytes", bytes.to_string()))
            }
            (Self::Memory, Version::Two) => Some(("memory.swap.max", "0".to_owned())),
            (Self::Processes | Self::Cpu | Self::DiskShare, _) => None,
        }
    }
}

impl Limits {
    /// Finds out, by trying, what this kernel lets this service enforce.
    pub fn probe() -> Self {
        let own_groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mut controllers = Vec::new();
        for limits in Limited::ALL {
            let first = version_one(limits, &own_groups);
            controllers.extend(first.or_else(|| version_two(limits, &own_groups)));
        }
        let limits = Self { controllers, filters_system_calls: seccomp::is_supported() };
        limits.remove_abandoned();
        limits
    }

    pub fn report(&self) -> LimitsReport {
        let means = |limits, otherwise| match self.controller(limits).map(|found| found.version) {
            Some(Version::One) => "cgroup v1",
            Some(Version::Two) => "cgroup v2",
            None => otherwise,
        };
        let none = "not enforced: no cgroup may be written";
        LimitsReport {
            memory: means(Limited::Memory, none),
            processes: means(
                Limited::Processes,
                "RLIMIT_NPROC for all sandboxes together: no cgroup may be written",
            ),
            cpu: means(Limited::Cpu, none),
            disk_share: means(Limited::DiskShare, "not enforced: no cgroup has a weight for disks"),
            disk: "measured whenever the disk has filled, and every 10 s; single files by RLIMIT_FSIZE",
            system_calls: if self.filters_system_calls() {
                "seccomp"
            } else {
                "not enforced: this kernel has no seccomp filters, or its processor is unknown here"
            },
        }
    }

    /// What each process of a sandbox is held to, beside the groups.
    pub fn of_processes(&self, resources: &Resources) -> ProcessLimits {
        ProcessLimits::for_room(resources, self.controller(Limited::Processes).is_some())
    }

    pub fn filters_system_calls(&self) -> bool {
        self.filters_system_calls
    }

    /// Makes the sandbox's groups and answers the files that take processes in.
    pub fn prepare(&self, sandbox: SandboxId, resources: &Resources) -> io::Result<Vec<PathBuf>> {
        let mut entrances = Vec::new();
        for controller in &self.controllers {
            let group = controller.group(sandbox);
            fs::create_dir_all(&group)?;
            let (file, value) = controller.limits.setting(controller.version, resources);
            fs::write(group.join(file), value)?;
            if let Some((file, value)) =
                controller.limits.further_setting(controller.version, resources)
            {
                let _written_or_unknown_to_the_kernel = fs::write(group.join(file), value);
            }
            let entrance = group.join("cgroup.procs");
            if !entrances.contains(&entrance) {
                entrances.push(entrance);
            }
        }
        Ok(entrances)
    }

    /// Whether the kernel ended something of this sandbox because its memory was used up.
    pub fn ran_out_of_memory(&self, sandbox: SandboxId) -> bool {
        let Some(controller) = self.controller(Limited::Memory) else { return false };
        let file = match controller.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        let counters = fs::read_to_string(controller.group(sandbox).join(file)).unwrap_or_default();
        let kills = counters.lines().find_map(|line| line.strip_prefix("oom_kill "));
        kills.is_some_and(|kills| kills.trim() != "0")
    }

    /// The sandboxes that have a group, those of other installations on this machine too.
    pub fn groups(&self) -> impl Iterator<Item = SandboxId> {
        let parents = self.controllers.iter().map(|controller| &controller.parent);
        parents.flat_map(|parent| names_in(parent)).map(SandboxId::from_uuid)
    }

    /// Every process in the sandbox's groups.
    pub fn processes_of(&self, sandbox: SandboxId) -> Vec<i32> {
        let lists = self.controllers.iter().map(|controller| {
            fs::read_to_string(controller.group(sandbox).join("cgroup.procs")).unwrap_or_default()
        });
        let mut pids: Vec<i32> = lists
            .flat_map(|list| list.lines().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
            .collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Removes the sandbox's groups. A group that is still occupied stays and is tried again with the next sandbox's end.
    pub fn remove(&self, sandbox: SandboxId) {
        for controller in &self.controllers {
            let _gone_or_occupied = fs::remove_dir(controller.group(sandbox));
        }
    }

    /// Removes groups whose sandbox ended while no service ran. The kernel refuses for those that are occupied, and those of the
    /// last minute may be about to be.
    fn remove_abandoned(&self) {
        for controller in &self.controllers {
            let Ok(groups) = fs::read_dir(&controller.parent) else { continue };
            for group in groups.flatten() {
                let age = group.metadata().and_then(|made| made.modified()).ok();
                let age = age.and_then(|made| made.elapsed().ok()).unwrap_or_default();
                if age > Duration::from_mins(1) {
                    let _gone_or_occupied = fs::remove_dir(group.path());
                }
            }
        }
    }

    fn controller(&self, limits: Limited) -> Option<&Controller> {
        self.controllers.iter().find(|controller| controller.limits == limits)
    }
}

impl Controller {
    fn group(&self, sandbox: SandboxId) -> PathBuf {
        self.parent.join(sandbox.uuid().simple().to_string())
    }

    fn probed(limits: Limited, version: Version, parent: PathBuf) -> Option<Self> {
        fs::create_dir_all(&parent).ok()?;
        let controller = Self { limits, version, parent };
        let probe = controller.parent.join(format!("probe-{}", std::process::id()));
        fs::create_dir_all(&probe).ok()?;
        let (file, value) = limits.setting(version, &Resources::default());
        let works = fs::write(probe.join(file), value).is_ok();
        let _removed = fs::remove_dir(&probe);
        works.then_some(controller)
    }
}

fn version_one(limits: Limited, own_groups: &str) -> Option<Controller> {
    let name = limits.controller_name(Version::One);
    let mounted = Path::new(CGROUP_ROOT).join(name);
    let own = own_groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let names = fields.next()?;
        let path = fields.next()?;
        names.split(',').any(|listed| listed == name).then(|| path.trim_start_matches('/'))
    })?;
    // In a container the path may be the host's, and what is mounted is the container's own group.
    let below_own = mounted.join(own);
    let base = if below_own.is_dir() { below_own } else { mounted };
    Controller::probed(limits, Version::One, base.join(PARENT))
}

fn version_two(limits: Limited, own_groups: &str) -> Option<Controller> {
    let own = own_groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mounted = Path::new(CGROUP_ROOT);
    let below_own = mounted.join(own);
    let base = if below_own.is_dir() { below_own } else { mounted.to_owned() };
    let parent = base.join(PARENT);
    fs::create_dir_all(&parent).ok()?;
    // Refused (EBUSY) where the service's own group may not hand on its controllers: then nothing is enforced.
    let hand_on = format!("+{}", limits.controller_name(Version::Two));
    fs::write(base.join("cgroup.subtree_control"), &hand_on).ok()?;
    fs::write(parent.join("cgroup.subtree_control"), &hand_on).ok()?;
    Controller::probed(limits, Version::Two, parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_written_in_its_version_s_own_form() {
        let resources =
            Resources { memory_mib: 2048, processes: 512, disk_mib: 1, cpu_millis: 1500 };
        let written = |limits: Limited, version| limits.setting(version, &resources);
        let bytes = "2147483648".to_owned();
        assert_eq!(
            written(Limited::Memory, Version::One),
            ("memory.limit_in_bytes", bytes.clone())
        );
        assert_eq!(written(Limited::Memory, Version::Two), ("memory.max", bytes));
        assert_eq!(written(Limited::Processes, Version::Two), ("pids.max", "512".to_owned()));
        assert_eq!(written(Limited::Cpu, Version::One), ("cpu.cfs_quota_us", "150000".to_owned()));
        assert_eq!(written(Limited::Cpu, Version::Two), ("cpu.max", "150000 100000".to_owned()));
    }
}
