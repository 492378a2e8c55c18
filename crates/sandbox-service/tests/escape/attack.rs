//! Runs a hostile script as the harness of a sandbox, and takes protections away from its room.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use platform_core::environment::Resources;
use platform_core::harness::Manifest;
use platform_core::id::{EnvironmentId, SandboxId, SessionId};
use sandbox_service::backend::local::layout::Room;
use sandbox_service::backend::local::{LocalBackend, LocalSettings};
use sandbox_service::backend::{SandboxBackend, StartOrder};
use tempfile::TempDir;
use uuid::Uuid;

/// Beside that of the sandboxes which really run on this machine.
pub const USER: u32 = 64_998;
pub const TOKEN: &str = "c0ffee00c0ffee00";

/// A protection that a test takes away, as Python that changes what is about to be carried out.
#[derive(Debug, Clone, Copy)]
pub struct Missing {
    /// Changes the launcher's `plan`.
    plan: &'static str,
    /// Changes bubblewrap's `args`. `drop(word, n)` removes a word and the `n` after it, `mount(…)` adds a mount.
    bubblewrap: &'static str,
}

impl Missing {
    pub const fn in_plan(plan: &'static str) -> Self {
        Self { plan, bubblewrap: "" }
    }

    pub const fn in_bubblewrap(bubblewrap: &'static str) -> Self {
        Self { plan: "", bubblewrap }
    }
}

pub const FILTER: Missing = Missing::in_bubblewrap("drop('--seccomp', 1)");
pub const NESTING: Missing = Missing::in_bubblewrap("drop('--disable-userns')");
pub const PID_NAMESPACE: Missing =
    Missing::in_bubblewrap("drop('--unshare-pid'); drop('--as-pid-1')");
/// Made by the launcher or by bubblewrap.
pub const NETWORK_NAMESPACE: Missing =
    Missing { plan: "plan['network'] = 'loopback_only'", bubblewrap: "drop('--unshare-net')" };
/// The room's first process is the machine's root, with all that it may do.
pub const OWN_USER: Missing = Missing::in_plan("plan['user'] = None");
pub const USER_NAMESPACE: Missing =
    Missing::in_bubblewrap("drop('--unshare-user'); drop('--disable-userns')");
/// The room sees the machine's files below `/host`, and may write where its user may.
pub const OWN_FILES: Missing = Missing::in_bubblewrap("mount('--bind', '/', '/host')");

/// What every hostile script may use.
const PRELUDE: &str = r#"
import ctypes, errno, os, platform, signal, socket, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
IS_ARM = platform.machine() == 'aarch64'

def say(*words):
    print(*words, file=sys.stderr, flush=True)

def attempt(name, action):
    """Says of an attempt that it `succeeded`, or with which error it failed."""
    try:
        result = action()
    except OSError as error:
        say(name, errno.errorcode.get(error.errno, error.errno))
        return None
    say(name, 'succeeded')
    return result

def checked(result):
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result

def system_call(number, *arguments):
    return checked(libc.syscall(ctypes.c_long(number), *[
        ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]))
"#;

/// The sandboxes of one machine whose rooms lack something.
pub struct Machine {
    pub folder: TempDir,
    pub backend: LocalBackend,
}

/// A sandbox whose script has come to its end, or was ended.
#[derive(Debug)]
pub struct Outcome {
    pub reason: &'static str,
    /// What was said about its end.
    pub message: String,
    /// What the script said.
    pub said: String,
}

impl Outcome {
    /// Whether the script said this line.
    pub fn has(&self, line: &str) -> bool {
        self.said.lines().any(|said| said == line)
    }
}

impl Machine {
    pub fn without(missing: &[Missing]) -> Self {
        Self::of_user(USER, missing)
    }

    /// With a user that no other test's sandboxes have: the kernel counts some things by user.
    pub fn of_user(user: u32, missing: &[Missing]) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("escape-")
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir()
            .unwrap();
        let installs = folder.path().join("harnesses");
        fs::create_dir_all(installs.join("fake-1/bin")).unwrap();
        let agent = folder.path().join("agent");
        let script = "#!/bin/sh\nif [ $1 = init ]; then exec /usr/bin/python3 -I /workspace/attack.py >&2; else trap 'exit 0' TERM; sleep 600 & wait; fi\n";
        write_program(&agent, script);
        let settings = LocalSettings {
            data: folder.path().join("data"),
            agent_binary: agent,
            harness_installs: installs,
            launcher: write_launcher(folder.path(), missing),
            user: is_root().then_some(user),
        };
        Self { backend: LocalBackend::open(settings).unwrap(), folder }
    }

    /// Makes the folders of a sandbox and lays the script into its workspace.
    pub fn prepare(&self, script: &str, resources: Resources) -> StartOrder {
        let order = order(resources);
        self.backend.prepare(&order).unwrap();
        fs::write(self.workspace(&order).join("attack.py"), format!("{PRELUDE}\n{script}"))
            .unwrap();
        order
    }

    pub async fn start(&self, script: &str) -> StartOrder {
        let order = self.prepare(script, Resources::default());
        self.backend.start(&order).await.unwrap();
        order
    }

    pub fn workspace(&self, order: &StartOrder) -> PathBuf {
        self.backend.layout().workspace(order.session.unwrap()).workspace
    }

    /// Waits for the script's end and removes the sandbox.
    pub async fn finish(&self, order: &StartOrder) -> Outcome {
        let ended = self.backend.ended(order.sandbox).await;
        let log = self.backend.layout().sandbox(order.sandbox).log(Room::Harness);
        let said = fs::read_to_string(log).unwrap();
        self.backend.stop(order.sandbox).await.unwrap();
        Outcome { reason: ended.reason, message: ended.message, said }
    }

    pub async fn run(&self, script: &str) -> Outcome {
        self.run_with(script, Resources::default()).await
    }

    pub async fn run_with(&self, script: &str, resources: Resources) -> Outcome {
        let order = self.prepare(script, resources);
        self.backend.start(&order).await.unwrap();
        self.finish(&order).await
    }
}

/// Runs a script in a room that lacks these protections.
pub async fn run_without(missing: &[Missing], script: &str) -> Outcome {
    Machine::without(missing).run(script).await
}

/// Asserts that the attack, whose success the script says in this line, succeeds in a room without any of these protections, and
/// that each of them alone suffices to hold it.
pub async fn assert_each_holds(protections: &[Missing], script: &str, success: &str) {
    let outcome = run_without(protections, script).await;
    assert!(outcome.has(success), "this attack fails anyway: {outcome:?}");
    for (kept, protection) in protections.iter().enumerate() {
        let mut missing = protections.to_vec();
        missing.remove(kept);
        let outcome = run_without(&missing, script).await;
        assert!(!outcome.has(success), "{protection:?} does not hold it: {outcome:?}");
        assert_was_tried(&outcome, success);
    }
    let outcome = run_without(&[], script).await;
    assert!(!outcome.has(success), "{outcome:?}");
    assert_was_tried(&outcome, success);
}

/// A script that broke down before its attack proves nothing.
fn assert_was_tried(outcome: &Outcome, success: &str) {
    let name = success.split(' ').next().unwrap();
    let is_tried = outcome.said.lines().any(|line| line.starts_with(&format!("{name} ")));
    assert!(is_tried, "the attack was not tried: {outcome:?}");
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Whether an attack that takes root to be tried is left out, and says so.
pub fn lacks_root() -> bool {
    skips(!is_root(), "it takes root to try this")
}

/// Whether an attack on a limit is left out, and says so, because this machine may make no cgroup for it.
pub fn lacks_cgroup(machine: &Machine, limit: &str) -> bool {
    let means = machine.backend.limits();
    let has_cgroup = means.get(limit).unwrap().as_str().unwrap().starts_with("cgroup");
    skips(!has_cgroup, "no cgroup can be made here")
}

/// Tells why a test shows nothing on this machine, if it does not.
pub fn skips(is_skipped: bool, reason: &str) -> bool {
    if is_skipped {
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        eprintln!("skipped: {test}: {reason}");
    }
    is_skipped
}

/// A file or folder of the sandboxes' user.
pub fn give_to_user(path: &Path) {
    if is_root() {
        chown(path, Some(USER), Some(USER)).unwrap();
    }
}

fn write_program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The real launcher behind a program that changes the plan of the harness's room and the arguments of bubblewrap.
fn write_launcher(folder: &Path, missing: &[Missing]) -> PathBuf {
    let (mut plan, mut arguments) = (String::new(), String::new());
    for protection in missing {
        plan.extend(["    ", protection.plan, "\n"]);
        arguments.extend([protection.bubblewrap, "\n"]);
    }
    let bubblewrap = folder.join("bubblewrap");
    let launcher = folder.join("launcher");
    let real = env!("CARGO_BIN_EXE_sandbox-service");
    write_program(
        &launcher,
        &format!(
            "#!/usr/bin/python3 -I\nimport json, os, sys\nif sys.argv[1] != 'launch': os.execv('{real}', sys.argv)\n\
             plan = json.load(open(sys.argv[2]))\n\
             if 'init' in plan['command']:\n    plan['bubblewrap'] = '{}'\n{plan}    \
             json.dump(plan, open(sys.argv[2], 'w'))\nos.execv('{real}', sys.argv)\n",
            bubblewrap.display()
        ),
    );
    write_program(
        &bubblewrap,
        &format!(
            "#!/usr/bin/python3 -I\nimport os, sys\nargs = sys.argv[1:]\n\
             at = args.index('--unshare-all')\n\
             args[at:at + 1] = ['--unshare-' + n for n in ('pid', 'net', 'ipc', 'uts', 'cgroup')]\n\
             if '--share-net' in args: args.remove('--share-net'); args.remove('--unshare-net')\n\
             def drop(word, more=0):\n    at = args.index(word)\n    del args[at:at + 1 + more]\n\
             def mount(*words):\n    at = args.index('/dev', args.index('/workspace')) - 1\n    args[at:at] = words\n\
             {arguments}os.execv('/usr/bin/bwrap', ['bwrap'] + args)\n"
        ),
    );
    launcher
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
