//! Attacks on processes outside, on the rights of the room's own, and on what crashes leave.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use platform_core::environment::Resources;

use crate::attack::{
    FILTER, Machine, Missing, OWN_USER, PID_NAMESPACE, USER, USER_NAMESPACE, assert_each_holds,
    is_root, lacks_root, run_without, skips,
};

/// A process outside, of the same user as the sandbox.
struct Victim(Child);

impl Victim {
    fn new() -> Self {
        let mut command = Command::new("/usr/bin/sleep");
        if is_root() {
            command.uid(USER).gid(USER);
        }
        Self(command.arg("600").spawn().unwrap())
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn is_alive(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[tokio::test]
async fn processes_outside_are_neither_seen_nor_signalled() {
    let mut victim = Victim::new();
    let script = format!(
        "pid = {}\nsay('sees', open(f'/proc/{{pid}}/cmdline').read().split(chr(0))[0] if os.path.exists(f'/proc/{{pid}}') else 'nothing')\n\
         attempt('kill', lambda: os.kill(pid, signal.SIGKILL))",
        victim.pid()
    );
    let held = run_without(&[], &script).await;
    assert!(held.has("sees nothing") && held.has("kill ESRCH"), "{held:?}");
    assert!(victim.is_alive());

    let taken = run_without(&[PID_NAMESPACE], &script).await;
    assert!(taken.has("sees /usr/bin/sleep") && taken.has("kill succeeded"), "{taken:?}");
    victim.0.wait().unwrap();
}

#[tokio::test]
async fn processes_outside_are_not_traced() {
    if lacks_root() {
        return;
    }
    let victim = Victim::new();
    let script = format!(
        "ATTACH, DETACH = 16, 17\npid = {}\ndef trace():\n    checked(libc.ptrace(ATTACH, pid, None, None))\n    os.waitpid(pid, 0x40000000)\n    libc.ptrace(DETACH, pid, None, None)\nattempt('trace', trace)",
        victim.pid()
    );
    // As root of the machine in the machine's own pid namespace; hidden from; as another user with no rights over it.
    let script = script.as_str();
    let taken = run_without(&[OWN_USER, USER_NAMESPACE, PID_NAMESPACE], script).await;
    assert!(taken.has("trace succeeded"), "{taken:?}");
    let hidden = run_without(&[OWN_USER, USER_NAMESPACE], script).await;
    assert!(hidden.has("trace ESRCH"), "{hidden:?}");
    let powerless = run_without(&[PID_NAMESPACE], script).await;
    assert!(powerless.has("trace EPERM"), "{powerless:?}");
    let held = run_without(&[], script).await;
    assert!(held.has("trace ESRCH"), "{held:?}");
}

#[tokio::test]
async fn a_setuid_program_gives_no_rights() {
    if lacks_root() {
        return;
    }
    let make = |path: &std::path::Path| {
        fs::copy("/usr/bin/id", path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o4755)).unwrap();
    };
    // Outside of any room, because bubblewrap makes none in which such a program works.
    let machine = Machine::without(&[]);
    let outside = machine.folder.path().join("id");
    make(&outside);
    let taken = Command::new(&outside).arg("-u").uid(USER).gid(USER).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&taken.stdout), "0\n", "the attack fails anyway");

    let script = "import subprocess\nsay('user', subprocess.run(['/workspace/id', '-u'], capture_output=True, text=True).stdout.strip())\n\
        for line in open('/proc/self/status'):\n    if line.split(':')[0] in ('NoNewPrivs', 'CapEff', 'CapBnd', 'CapAmb'): say(*line.split())";
    let order = machine.prepare(script, Resources::default());
    make(&machine.workspace(&order).join("id"));
    sandbox_service::backend::SandboxBackend::start(&machine.backend, &order).await.unwrap();
    let held = machine.finish(&order).await;
    let none = "0000000000000000";
    for line in [
        format!("user {USER}"),
        "NoNewPrivs: 1".to_owned(),
        format!("CapEff: {none}"),
        format!("CapBnd: {none}"),
        format!("CapAmb: {none}"),
    ] {
        assert!(held.has(&line), "{line}: {held:?}");
    }
}

#[tokio::test]
async fn memory_is_not_left_behind_by_a_crash() {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let is_elsewhere = pattern.starts_with(['|', '/']);
    if skips(is_elsewhere, "this machine keeps what crashes leave outside of their folder") {
        return;
    }
    let script = "if os.fork() == 0:\n    os.abort()\nos.wait()\n\
        say('crash', 'succeeded' if any(name.startswith('core') for name in os.listdir('.')) else 'left nothing')";
    let limit = Missing::in_plan("plan['limits']['core_bytes'] = 2**63 - 1");
    assert_each_holds(&[limit], script, "crash succeeded").await;
}

#[tokio::test]
async fn device_nodes_are_not_made() {
    if lacks_root() {
        return;
    }
    let script = "import stat\nattempt('device', lambda: os.mknod('/workspace/disk', stat.S_IFBLK | 0o600, os.makedev(254, 0)))\n\
        attempt('pipe', lambda: os.mknod('/workspace/pipe', stat.S_IFIFO | 0o600))";
    let success = "device succeeded";
    let outcome = run_without(&[FILTER, OWN_USER, USER_NAMESPACE], script).await;
    assert!(outcome.has(success), "this attack fails anyway: {outcome:?}");
    for kept in [&[OWN_USER, USER_NAMESPACE][..], &[FILTER], &[]] {
        let outcome = run_without(kept, script).await;
        assert!(
            outcome.has("device EPERM") && outcome.has("pipe succeeded"),
            "{kept:?}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn a_device_node_that_is_there_cannot_be_used() {
    if lacks_root() {
        return;
    }
    let script = "attempt('device', lambda: os.open('/workspace/zero', os.O_RDONLY))";
    for (missing, said) in [
        (
            &[Missing::in_bubblewrap("at = args.index('/workspace') - 2; args[at] = '--dev-bind'")]
                [..],
            "device succeeded",
        ),
        (&[], "device EACCES"),
    ] {
        let machine = Machine::without(missing);
        let order = machine.prepare(script, Resources::default());
        let node = machine.workspace(&order).join("zero");
        let zero = nix::sys::stat::makedev(1, 5);
        let everyone = nix::sys::stat::Mode::from_bits_truncate(0o666);
        nix::sys::stat::mknod(&node, nix::sys::stat::SFlag::S_IFCHR, everyone, zero).unwrap();
        fs::set_permissions(&node, fs::Permissions::from_mode(0o666)).unwrap();
        sandbox_service::backend::SandboxBackend::start(&machine.backend, &order).await.unwrap();
        let outcome = machine.finish(&order).await;
        assert!(outcome.has(said), "{outcome:?}");
    }
}
