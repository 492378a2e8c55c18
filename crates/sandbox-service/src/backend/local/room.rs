//! What each of the two rooms of a sandbox sees: the plan that the launcher carries out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::layout::{Layout, Room, SandboxFolder, WorkspaceFolders};
use super::network::Network;
use super::process_limits::ProcessLimits;
use super::trust;

/// Everything the launcher must know to build one room. Never a secret: it lies on disk as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomPlan {
    /// The user of the room's processes, when the service is root.
    pub user: Option<u32>,
    /// `cgroup.procs` files into which the room goes before it exists.
    pub cgroups: Vec<PathBuf>,
    pub network: Network,
    pub limits: ProcessLimits,
    /// Whether what the room's processes may ask of the kernel is filtered. Only a kernel that has no filters goes without.
    pub filters_system_calls: bool,
    pub temporary_bytes: u64,
    /// The program that makes the room.
    pub bubblewrap: PathBuf,
    /// Where the launcher leaves its own pid.
    pub launch_file: PathBuf,
    pub mounts: Vec<Mount>,
    pub environment: BTreeMap<String, String>,
    pub directory: String,
    pub command: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub source: PathBuf,
    pub target: String,
    pub is_writable: bool,
}

impl Mount {
    fn read_only(source: impl Into<PathBuf>, target: &str) -> Self {
        Self { source: source.into(), target: target.to_owned(), is_writable: false }
    }

    fn writable(source: impl Into<PathBuf>, target: &str) -> Self {
        Self { source: source.into(), target: target.to_owned(), is_writable: true }
    }
}

/// What both rooms of one sandbox are made of.
#[derive(Debug)]
pub struct Rooms<'a> {
    pub layout: &'a Layout,
    pub sandbox: &'a SandboxFolder,
    pub workspace: &'a WorkspaceFolders,
    pub agent_binary: &'a Path,
    pub harness_install: &'a Path,
    pub user: Option<u32>,
    /// Of the harness's room; the supervise room has none.
    pub network: Network,
    pub limits: ProcessLimits,
    pub filters_system_calls: bool,
    /// Of the harness's room; the supervise room is ours and goes without.
    pub cgroups: Vec<PathBuf>,
}

const AGENT: &str = "/opt/lap/sandbox-agent";
const ROOM_SOCKET: &str = "/run/room/room.sock";
/// Where vault-proxy answers, as the room sees it.
const DOOR: &str = "/run/egress/proxy.sock";
/// The two addresses by which programs ask for it: as the model gateway, and as an HTTP proxy.
const MODELS_FORWARD: &str = "127.0.0.1:4000=/run/egress/proxy.sock";
const PROXY_FORWARD: &str = "127.0.0.1:3128=/run/egress/proxy.sock";
const BUBBLEWRAP: &str = "/usr/bin/bwrap";
const TEMPORARY_BYTES: u64 = 256 << 20;
const SHARED_MEMORY_BYTES: u64 = 256 << 20;
/// What `/proc` tells about the whole machine and not about the room; covered where the kernel has it.
const MACHINE_FILES: [&str; 7] = [
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
    "/proc/timer_stats",
];
const MACHINE_FOLDERS: [&str; 6] =
    ["/proc/acpi", "/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/scsi"];

impl Rooms<'_> {
    pub fn plan(&self, room: Room) -> RoomPlan {
        match room {
            Room::Supervise => self.supervise(),
            Room::Harness => self.harness(),
        }
    }

    fn supervise(&self) -> RoomPlan {
        let mut mounts = self.system_mounts();
        mounts.extend([
            Mount::read_only(self.agent_binary, AGENT),
            Mount::read_only(self.layout.links(), "/run/links"),
            Mount::read_only(self.sandbox.identity(), "/run/identity/identity.json"),
            Mount::writable(self.sandbox.room(), "/run/room"),
            Mount::writable(&self.workspace.journal, "/journal"),
        ]);
        let command = [
            AGENT,
            "supervise",
            "--identity",
            "/run/identity/identity.json",
            "--links",
            "/run/links",
            "--room",
            ROOM_SOCKET,
            "--journal",
            "/journal",
        ];
        let environment = [("PATH", "/usr/bin:/bin"), ("LANG", "C.UTF-8"), ("RUST_LOG", "info")];
        self.room(Room::Supervise, mounts, &environment, "/", &command)
    }

    fn harness(&self) -> RoomPlan {
        let mut mounts = self.system_mounts();
        mounts.extend([
            Mount::read_only(self.agent_binary, AGENT),
            Mount::read_only(self.harness_install, "/opt/harness"),
            // The folder, not the socket: a proxy that comes back makes a new one.
            Mount::read_only(self.sandbox.egress(), "/run/egress"),
            Mount::writable(self.sandbox.room(), "/run/room"),
            Mount::writable(&self.workspace.home, "/home/agent"),
            Mount::writable(&self.workspace.workspace, "/workspace"),
        ]);
        let bundle = self.sandbox.bundle();
        if bundle.exists() && trust::can_cover_system_bundle() {
            mounts.push(Mount::read_only(bundle, trust::SYSTEM_BUNDLE));
        }
        let mut command = vec![AGENT, "init", "--room", ROOM_SOCKET];
        command.extend(["--forward", MODELS_FORWARD, "--forward", PROXY_FORWARD]);
        if self.network == Network::Transparent {
            command.extend(["--outside-leads-to", DOOR]);
        }
        let mut environment = vec![
            ("PATH", "/opt/harness/bin:/usr/local/bin:/usr/bin:/bin"),
            ("HOME", "/home/agent"),
            ("USER", "agent"),
            ("SHELL", "/bin/bash"),
            ("LANG", "C.UTF-8"),
        ];
        environment.extend(trust::variables());
        self.room(Room::Harness, mounts, &environment, "/workspace", &command)
    }

    fn room(
        &self,
        room: Room,
        mounts: Vec<Mount>,
        environment: &[(&str, &str)],
        directory: &str,
        command: &[&str],
    ) -> RoomPlan {
        let (cgroups, network) = match room {
            Room::Supervise => (Vec::new(), Network::LoopbackOnly),
            Room::Harness => (self.cgroups.clone(), self.network),
        };
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        RoomPlan {
            user: self.user,
            cgroups,
            network,
            limits: self.limits,
            filters_system_calls: self.filters_system_calls,
            temporary_bytes: TEMPORARY_BYTES,
            bubblewrap: PathBuf::from(BUBBLEWRAP),
            launch_file: self.sandbox.launch_file(room),
            mounts,
            environment: environment.iter().map(owned).collect(),
            directory: directory.to_owned(),
            command: command.iter().map(|&word| word.to_owned()).collect(),
        }
    }

    /// The host's programs and libraries, and of `/etc` only what they need.
    fn system_mounts(&self) -> Vec<Mount> {
        let system = self.layout.system();
        let ours = ["passwd", "group", "hosts", "nsswitch.conf", "resolv.conf"];
        let hosts = ["/etc/ssl", "/etc/alternatives", "/etc/ld.so.cache"];
        let mut mounts = vec![Mount::read_only("/usr", "/usr")];
        mounts.extend(
            hosts.iter().filter(|path| Path::new(path).exists()).map(|p| Mount::read_only(p, p)),
        );
        mounts.extend(
            ours.iter().map(|name| Mount::read_only(system.join(name), &format!("/etc/{name}"))),
        );
        mounts
    }
}

impl RoomPlan {
    /// The arguments of bubblewrap. `sources` are where the mounts' sources can be reached, in the plan's order.
    pub fn bubblewrap_arguments(&self, sources: &[PathBuf]) -> Vec<String> {
        let mut arguments: Vec<String> = Vec::new();
        let mut push = |words: &[&str]| arguments.extend(words.iter().map(|&word| word.to_owned()));
        push(&["--unshare-all", "--unshare-user", "--disable-userns", "--new-session"]);
        push(&["--as-pid-1", "--hostname", "sandbox", "--clearenv"]);
        if self.network == Network::Transparent {
            // The launcher's, which belongs to a user namespace that the room has no right over.
            push(&["--share-net"]);
        }
        // Tells on standard output, which only the one who launches reads, which process the room's first one is.
        push(&["--info-fd", "1"]);
        push(&["--symlink", "usr/bin", "/bin", "--symlink", "usr/sbin", "/sbin"]);
        push(&["--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64"]);
        push(&["--proc", "/proc", "--dev", "/dev"]);
        // The same settings by way of a mount that nobody can write to, whatever his rights.
        push(&["--ro-bind", "/proc/sys", "/proc/sys"]);
        let shared_memory = SHARED_MEMORY_BYTES.to_string();
        push(&["--perms", "1777", "--size", &shared_memory, "--tmpfs", "/dev/shm"]);
        let is_there = |path: &&&str| Path::new(path).exists();
        for file in MACHINE_FILES.iter().filter(is_there) {
            // A device that cannot be opened, because nothing bound in this way can be used as one.
            push(&["--ro-bind", "/dev/null", file]);
        }
        for folder in MACHINE_FOLDERS.iter().filter(is_there) {
            push(&["--perms", "0555", "--size", "4096", "--tmpfs", folder, "--remount-ro", folder]);
        }
        push(&["--size", &self.temporary_bytes.to_string(), "--tmpfs", "/tmp"]);
        push(&["--perms", "0755", "--size", "1048576", "--tmpfs", "/run"]);
        for (mount, source) in self.mounts.iter().zip(sources) {
            let kind = if mount.is_writable { "--bind" } else { "--ro-bind" };
            push(&[kind, &source.to_string_lossy(), &mount.target]);
        }
        // Memory of the machine that no limit but the room's whole memory would hold.
        push(&["--remount-ro", "/dev", "--remount-ro", "/"]);
        for (name, value) in &self.environment {
            push(&["--setenv", name, value]);
        }
        push(&["--chdir", &self.directory, "--"]);
        arguments.extend(self.command.iter().cloned());
        arguments
    }
}

#[cfg(test)]
mod tests {
    use platform_core::environment::Resources;
    use platform_core::id::{SandboxId, SessionId};
    use uuid::Uuid;

    use super::*;

    fn plans() -> (RoomPlan, RoomPlan) {
        let layout = Layout::new("/data");
        let sandbox = layout.sandbox(SandboxId::from_uuid(Uuid::from_u128(1)));
        let workspace = layout.workspace(SessionId::from_uuid(Uuid::from_u128(2)));
        let rooms = Rooms {
            layout: &layout,
            sandbox: &sandbox,
            workspace: &workspace,
            agent_binary: Path::new("/bin/agent"),
            harness_install: Path::new("/harness"),
            user: Some(64999),
            network: Network::Transparent,
            limits: ProcessLimits::for_room(&Resources::default(), true),
            filters_system_calls: true,
            cgroups: vec![PathBuf::from("/cgroup/procs")],
        };
        (rooms.plan(Room::Supervise), rooms.plan(Room::Harness))
    }

    fn targets(plan: &RoomPlan) -> Vec<&str> {
        plan.mounts.iter().map(|mount| mount.target.as_str()).collect()
    }

    #[test]
    fn the_harness_sees_neither_journal_nor_link_nor_identity() {
        let (supervise, harness) = plans();
        for secret in ["/journal", "/run/links", "/run/identity/identity.json"] {
            assert!(targets(&supervise).contains(&secret));
            assert!(!targets(&harness).contains(&secret));
        }
    }

    #[test]
    fn only_workspace_home_and_room_can_be_written_by_the_harness() {
        let (_, harness) = plans();
        let writable: Vec<_> =
            harness.mounts.iter().filter(|m| m.is_writable).map(|m| m.target.as_str()).collect();
        assert_eq!(writable, ["/run/room", "/home/agent", "/workspace"]);
    }

    #[test]
    fn only_the_harness_is_limited() {
        let (supervise, harness) = plans();
        assert_eq!(supervise.cgroups, Vec::<PathBuf>::new());
        assert_eq!(harness.cgroups, [PathBuf::from("/cgroup/procs")]);
    }

    #[test]
    fn only_the_harness_has_a_network_and_only_where_there_is_one() {
        let shares = |plan: &RoomPlan| {
            plan.bubblewrap_arguments(&[]).iter().any(|argument| argument == "--share-net")
        };
        let (supervise, mut harness) = plans();
        assert!(!shares(&supervise));
        assert!(shares(&harness));
        harness.network = Network::LoopbackOnly;
        assert!(!shares(&harness));
    }

    #[test]
    fn mounts_are_taken_from_where_they_can_be_reached() {
        let (_, harness) = plans();
        let staged: Vec<PathBuf> =
            (0..harness.mounts.len()).map(|index| PathBuf::from(format!("/mnt/{index}"))).collect();
        let arguments = harness.bubblewrap_arguments(&staged);
        let at = arguments.iter().position(|argument| argument == "/workspace").unwrap();
        assert_eq!(arguments[at - 2], "--bind");
        assert_eq!(arguments[at - 1], format!("/mnt/{}", staged.len() - 1));
    }
}
