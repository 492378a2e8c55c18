//! The local backend with real bubblewrap. A shell script stands in for sandbox-agent and tells what it sees.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use platform_core::environment::Resources;
use platform_core::harness::Manifest;
use platform_core::id::{EnvironmentId, SandboxId, SessionId};
use sandbox_service::backend::local::layout::Room;
use sandbox_service::backend::local::process::{Process, began_of, children_of};
use sandbox_service::backend::local::{LocalBackend, LocalSettings};
use sandbox_service::backend::{BackendError, Ended, SandboxBackend, StartOrder};
use tempfile::TempDir;
use uuid::Uuid;

const TOKEN: &str = "c0ffee00c0ffee00";

struct Machine {
    folder: TempDir,
    settings: LocalSettings,
}

impl Machine {
    /// `init` and `supervise` are what the two rooms run, as shell scripts.
    fn new(init: &str, supervise: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let agent = folder.path().join("agent");
        let script = format!("#!/bin/sh\nif [ $1 = init ]; then\n{init}\nelse\n{supervise}\nfi\n");
        fs::write(&agent, script).unwrap();
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).unwrap();
        let installs = folder.path().join("harnesses");
        fs::create_dir_all(installs.join("fake-1/bin")).unwrap();
        let settings = LocalSettings {
            // Deeper than the address of a unix socket can tell, and not for every user's eyes.
            data: folder.path().join("a-rather-long-name-for-a-data-directory/".repeat(3)),
            agent_binary: agent,
            harness_installs: installs,
            launcher: PathBuf::from(env!("CARGO_BIN_EXE_sandbox-service")),
            user: nix::unistd::geteuid().is_root().then_some(64_999),
        };
        Self { folder, settings }
    }

    fn open(&self) -> LocalBackend {
        LocalBackend::open(self.settings.clone()).unwrap()
    }
}

fn order(resources: Resources) -> StartOrder {
    let manifest = "name = \"fake\"\nversion = \"1\"\ndescription = \"\"\nprotocol = \"acp\"\ncommand = [\"fake\"]\n";
    let harness: Manifest = toml::from_str(manifest).unwrap();
    StartOrder {
        sandbox: SandboxId::from_uuid(Uuid::now_v7()),
        team: None,
        environment: EnvironmentId::from_uuid(Uuid::now_v7()),
        session: Some(SessionId::from_uuid(Uuid::now_v7())),
        image: None,
        resources,
        warm_pool_size: 0,
        harness,
        token: TOKEN.into(),
    }
}

async fn start(backend: &LocalBackend, order: &StartOrder) {
    backend.prepare(order).unwrap();
    backend.start(order).await.unwrap();
}

fn workspace(backend: &LocalBackend, order: &StartOrder) -> PathBuf {
    backend.layout().workspace(order.session.unwrap()).workspace
}

fn pid_of(backend: &LocalBackend, sandbox: SandboxId, room: Room) -> i32 {
    let file = backend.layout().sandbox(sandbox).pid_file(room);
    fs::read_to_string(file).unwrap().trim().parse().unwrap()
}

/// What the scripts of both rooms do until they are ended.
const STAY: &str = "sleep 600";

/// Runs `script` in the harness's room to its end and answers what it wrote to standard error.
async fn seen_in_the_harness_room(script: &str) -> String {
    let machine = Machine::new(script, STAY);
    let backend = machine.open();
    let order = order(Resources::default());
    start(&backend, &order).await;
    let Ended { reason, message } = backend.ended(order.sandbox).await;
    assert_eq!(reason, "exited", "{message}");
    backend.stop(order.sandbox).await.unwrap();
    message
}

#[tokio::test]
async fn the_harness_room_has_no_device_of_the_machine() {
    let seen =
        seen_in_the_harness_room("cut -d: -f1 /proc/net/dev | tail -n +3 | tr -d ' \\n' >&2").await;
    // The second is a cable to the room's own first process, where the machine lets such a thing be made.
    assert!(seen.ends_with("\nlo") || seen.ends_with("\nloeth0"), "{seen}");
}

#[tokio::test]
async fn the_harness_room_sees_no_secret() {
    let script = "env >&2; cat /proc/*/cmdline | tr '\\0' ' ' >&2; ls -d /journal /run/* >&2; \
        grep -rs c0ffee00[c]0ffee00 /proc/*/environ /run /opt /home /workspace /tmp >&2; true";
    let seen = seen_in_the_harness_room(script).await;
    assert!(!seen.contains(TOKEN), "{seen}");
    assert!(!seen.contains("DATABASE_URL"), "{seen}");
    let folders: Vec<&str> = seen.lines().filter(|line| line.starts_with("/run/")).collect();
    assert_eq!(folders, ["/run/egress", "/run/room"]);
    assert!(seen.contains("cannot access '/journal'"), "{seen}");
}

#[tokio::test]
async fn the_harness_room_cannot_write_to_the_system() {
    let script = "for path in /usr/x /opt/harness/x /opt/lap/x /run/egress/x /etc/x; do touch $path 2>/dev/null && echo wrote $path >&2; done; \
        touch /workspace/x /home/agent/x /tmp/x && echo wrote its own >&2; unshare -Ur true 2>/dev/null || echo no more namespaces >&2; \
        grep CapEff /proc/self/status >&2; id -u >&2";
    let seen = seen_in_the_harness_room(script).await;
    assert!(
        seen.contains("\nwrote its own\nno more namespaces\nCapEff:\t0000000000000000\n"),
        "{seen}"
    );
    assert!(!seen.ends_with("\n0"), "{seen}");
}

#[tokio::test]
async fn the_supervise_room_sees_identity_journal_and_links() {
    let machine = Machine::new(
        STAY,
        "cat /run/identity/identity.json >&2; touch /journal/x /run/room/x && ls -d /run/links /workspace >&2",
    );
    let backend = machine.open();
    let order = order(Resources::default());
    start(&backend, &order).await;
    let Ended { message, .. } = backend.ended(order.sandbox).await;
    assert!(message.contains(&format!("\"token\":\"{TOKEN}\"")), "{message}");
    assert!(message.contains("/run/links"), "{message}");
    assert!(message.contains("cannot access '/workspace'"), "{message}");
    backend.stop(order.sandbox).await.unwrap();
}

#[tokio::test]
async fn nothing_is_left_of_a_stopped_sandbox_but_its_workspace() {
    // A harness that does not hear SIGTERM and has children of its own.
    let machine =
        Machine::new("trap '' TERM; setsid sleep 600 & echo hi > /workspace/file; wait", STAY);
    let backend = machine.open();
    let order = order(Resources::default());
    start(&backend, &order).await;
    let pids = Room::BOTH.map(|room| pid_of(&backend, order.sandbox, room));
    wait_for(&workspace(&backend, &order).join("file")).await;

    backend.stop(order.sandbox).await.unwrap();
    assert_eq!(pids.map(began_of), [None, None]);
    assert!(!backend.layout().sandbox(order.sandbox).root().exists());
    let left = fs::read_to_string(workspace(&backend, &order).join("file")).unwrap();
    assert_eq!(left, "hi\n");

    backend.stop(order.sandbox).await.unwrap();
    backend.remove_workspace(order.session.unwrap()).await.unwrap();
    assert!(!backend.has_workspace(order.session.unwrap()));
}

#[tokio::test]
async fn what_is_frozen_is_ended_too() {
    for frozen in [Frozen::Room(Room::Supervise), Frozen::Room(Room::Harness), Frozen::Everything] {
        let stay = "trap 'exit 0' TERM; sleep 600 & touch /room-is-up; wait";
        let init = stay.replace("/room-is-up", "/workspace/up");
        let machine = Machine::new(&init, &stay.replace("/room-is-up", "/journal/up"));
        let backend = machine.open();
        let order = order(Resources::default());
        start(&backend, &order).await;
        wait_for(&workspace(&backend, &order).join("up")).await;
        wait_for(&backend.layout().workspace(order.session.unwrap()).journal.join("up")).await;
        let pids = Room::BOTH.map(|room| pid_of(&backend, order.sandbox, room));
        for pid in frozen.of(&backend, order.sandbox) {
            // What touched the file may be gone by now.
            if let Some(process) = Process::open(pid, None).unwrap() {
                process.freeze();
            }
        }
        backend.stop(order.sandbox).await.unwrap();
        assert_eq!(pids.map(began_of), [None, None], "{frozen:?}");
    }
}

#[derive(Debug)]
enum Frozen {
    Room(Room),
    /// What runs in the rooms, and those who wait for them outside.
    Everything,
}

impl Frozen {
    fn of(&self, backend: &LocalBackend, sandbox: SandboxId) -> Vec<i32> {
        match self {
            Self::Room(room) => vec![pid_of(backend, sandbox, *room)],
            Self::Everything => Room::BOTH
                .into_iter()
                .flat_map(|room| {
                    let first = pid_of(backend, sandbox, room);
                    let file = backend.layout().sandbox(sandbox).launch_file(room);
                    let launch = fs::read_to_string(file).unwrap();
                    let outside = launch.split_whitespace().next().unwrap().parse().unwrap();
                    children_of(first).into_iter().chain([first, outside])
                })
                .collect(),
        }
    }
}

#[tokio::test]
async fn a_successor_takes_a_running_sandbox_over() {
    let machine = Machine::new(STAY, STAY);
    let order = order(Resources::default());
    let first = machine.open();
    start(&first, &order).await;
    let pid = pid_of(&first, order.sandbox, Room::Harness);
    drop(first);

    let second = machine.open();
    assert!(second.adopt(order.sandbox));
    Process::open(pid, None).unwrap().unwrap().kill();
    assert_eq!(second.ended(order.sandbox).await.reason, "exited");
    second.stop(order.sandbox).await.unwrap();
    assert!(!second.adopt(order.sandbox));
}

#[tokio::test]
async fn a_sandbox_is_in_a_session_of_its_own() {
    let machine = Machine::new("touch /workspace/up; sleep 600", "touch /journal/up; sleep 600");
    let backend = machine.open();
    let order = order(Resources::default());
    start(&backend, &order).await;
    wait_for(&workspace(&backend, &order).join("up")).await;
    wait_for(&backend.layout().workspace(order.session.unwrap()).journal.join("up")).await;
    for room in Room::BOTH {
        let pid = pid_of(&backend, order.sandbox, room);
        let session = nix::unistd::getsid(Some(nix::unistd::Pid::from_raw(pid))).unwrap();
        assert_eq!(session.as_raw(), pid, "a signal to our terminal or group would reach it");
    }
    backend.stop(order.sandbox).await.unwrap();
}

#[tokio::test]
async fn the_end_of_a_sandbox_tells_its_status_and_last_lines() {
    let machine = Machine::new("echo the reason >&2; exit 3", STAY);
    let backend = machine.open();
    let order = order(Resources::default());
    start(&backend, &order).await;
    let ended = backend.ended(order.sandbox).await;
    assert_eq!(ended.reason, "exited");
    assert_eq!(
        ended.message,
        "the sandbox ended (init: exit status: 3). Its last lines:\nthe reason"
    );
    backend.stop(order.sandbox).await.unwrap();
}

#[tokio::test]
async fn a_harness_that_uses_up_its_memory_is_named_as_such() {
    let machine = Machine::new("exec tail /dev/zero", STAY);
    let backend = machine.open();
    if !backend.limits()["memory"].as_str().unwrap().starts_with("cgroup") {
        return;
    }
    let order = order(Resources { memory_mib: 64, ..Resources::default() });
    start(&backend, &order).await;
    let ended = backend.ended(order.sandbox).await;
    assert_eq!(ended.reason, "out_of_memory", "{}", ended.message);
    backend.stop(order.sandbox).await.unwrap();
}

#[tokio::test]
async fn more_processes_than_allowed_cannot_be_made() {
    let script = "for n in 1 2 3 4 5 6 7 8 9; do sleep 600 & done; echo all of them >&2";
    let machine = Machine::new(script, STAY);
    let backend = machine.open();
    if !backend.limits()["processes"].as_str().unwrap().starts_with("cgroup") {
        return;
    }
    let order = order(Resources { processes: 6, ..Resources::default() });
    start(&backend, &order).await;
    let ended = backend.ended(order.sandbox).await;
    assert!(ended.message.contains("Cannot fork"), "{}", ended.message);
    backend.stop(order.sandbox).await.unwrap();
}

#[tokio::test]
async fn a_claimed_sandbox_goes_on_under_its_session_s_name() {
    let machine = Machine::new(
        "while ! [ -e /workspace/go ]; do sleep 0.01; done; touch /workspace/went; sleep 600",
        STAY,
    );
    let backend = machine.open();
    let warm = StartOrder { session: None, ..order(Resources::default()) };
    start(&backend, &warm).await;
    let session = SessionId::from_uuid(Uuid::now_v7());
    assert!(!backend.has_workspace(session));

    backend.adopt_workspace(warm.sandbox, session).await.unwrap();
    backend.adopt_workspace(warm.sandbox, session).await.unwrap();
    let workspace = backend.layout().workspace(session).workspace;
    fs::write(workspace.join("go"), "").unwrap();
    wait_for(&workspace.join("went")).await;
    backend.stop(warm.sandbox).await.unwrap();
    assert!(backend.has_workspace(session));
}

#[tokio::test]
async fn a_harness_that_is_not_installed_is_named() {
    let machine = Machine::new(STAY, STAY);
    fs::remove_dir_all(machine.folder.path().join("harnesses/fake-1")).unwrap();
    let backend = machine.open();
    let refused = backend.prepare(&order(Resources::default())).unwrap_err();
    assert!(matches!(refused, BackendError::HarnessMissing { .. }), "{refused}");
}

/// Files appear without an event that a test could wait for across a mount, so this looks until the test's own end.
async fn wait_for(file: &Path) {
    while !file.exists() {
        tokio::task::yield_now().await;
    }
}
