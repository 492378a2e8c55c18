//! Attacks on the kernel: settings, mounts, namespaces, keys, and the calls that kernels are broken through.

use crate::attack::{
    FILTER, Missing, NESTING, OWN_USER, USER_NAMESPACE, assert_each_holds, lacks_root, run_without,
};

const SETTINGS_MOUNT: Missing =
    Missing::in_bubblewrap("at = args.index('/proc/sys') - 1; del args[at:at + 3]");

#[tokio::test]
async fn settings_of_the_kernel_cannot_be_written() {
    if lacks_root() {
        return;
    }
    // Opened only: what it says must not depend on what is written.
    let script = "opened = 0\n\
        for folder in ('kernel', 'vm', 'net', 'fs'):\n    for where, _, names in os.walk('/proc/sys/' + folder):\n        for name in names:\n            \
        try: os.close(os.open(os.path.join(where, name), os.O_WRONLY)); opened += 1\n            except OSError: pass\n\
        try: os.close(os.open('/proc/sysrq-trigger', os.O_WRONLY)); opened += 1\nexcept OSError: pass\n\
        say('settings', 'open' if opened else 'closed', *([opened] if opened else []))";
    // Some belong to the room's own namespaces, and so to its user. The machine's root would write them all.
    let held = run_without(&[], script).await;
    assert!(held.has("settings closed"), "{held:?}");
    for missing in [&[SETTINGS_MOUNT][..], &[SETTINGS_MOUNT, OWN_USER, USER_NAMESPACE]] {
        let taken = run_without(missing, script).await;
        assert!(taken.said.contains("settings open"), "this attack fails anyway: {taken:?}");
    }
    let root = run_without(&[OWN_USER, USER_NAMESPACE], script).await;
    assert!(root.has("settings closed"), "{root:?}");
}

#[tokio::test]
async fn what_proc_tells_of_the_machine_is_covered() {
    let script = "attempt('keys', lambda: open('/proc/keys').read())\n\
        say('acpi', *(os.listdir('/proc/acpi') if os.path.exists('/proc/acpi') else []))\n\
        say('sys', os.path.exists('/sys/kernel'))\nsay(open('/proc/self/cgroup').read().splitlines()[-1])";
    let uncovered =
        Missing::in_bubblewrap("at = args.index('/proc/keys'); del args[at - 2:at + 1]");
    assert_each_holds(&[uncovered], script, "keys succeeded").await;
    let held = run_without(&[], script).await;
    assert!(held.has("keys EACCES") && held.has("sys False"), "{held:?}");
    // Its own group is the root of what it sees.
    assert!(held.said.lines().any(|line| line.ends_with(":/")), "{held:?}");
}

#[tokio::test]
async fn namespaces_and_mounts_cannot_be_made() {
    // In a user namespace of its own every user is root, and may mount.
    let script = "NEW_USER, NEW_MOUNTS = 0x10000000, 0x00020000\nuser = os.getuid()\n\
        def nest():\n    checked(libc.unshare(NEW_USER | NEW_MOUNTS))\n    open('/proc/self/setgroups', 'w').write('deny')\n    \
        open('/proc/self/uid_map', 'w').write(f'0 {user} 1')\n    checked(libc.mount(b'none', b'/tmp', b'tmpfs', 0, None))\n\
        attempt('mount', nest)";
    assert_each_holds(&[FILTER, NESTING], script, "mount succeeded").await;
}

#[tokio::test]
async fn a_process_in_new_namespaces_cannot_be_made() {
    let script = "NEW_USER = 0x10000000\nclone = 220 if IS_ARM else 56\n\
        def nest():\n    if system_call(clone, NEW_USER | signal.SIGCHLD, 0, 0, 0, 0) == 0: os._exit(0)\n    os.wait()\n\
        attempt('clone', nest)";
    assert_each_holds(&[FILTER, NESTING], script, "clone succeeded").await;
    // Its flags lie in memory, so there is none of it.
    let arguments = "arguments = ctypes.create_string_buffer(struct.pack('<8Q', 0x10000000, 0, 0, 0, signal.SIGCHLD, 0, 0, 0))\n\
        def nest():\n    if system_call(435, arguments, 64) == 0: os._exit(0)\n    os.wait()\n\
        attempt('clone3', nest)";
    assert_each_holds(&[FILTER, NESTING], arguments, "clone3 succeeded").await;
    assert!(run_without(&[], arguments).await.has("clone3 ENOSYS"));
}

#[tokio::test]
async fn keys_cannot_be_left_in_the_kernel() {
    let script = "add_key = 217 if IS_ARM else 248\nUSER_KEYRING = -4\n\
        attempt('key', lambda: system_call(add_key, b'user', b'name', b'value', 5, USER_KEYRING))";
    assert_each_holds(&[FILTER], script, "key succeeded").await;
}

/// Calls that any user may make on some kernels, each with the error that takes its place.
#[tokio::test]
async fn calls_through_which_kernels_are_broken_are_closed() {
    let script = r"
buffer = ctypes.create_string_buffer(4096)
attempt('io_uring', lambda: system_call(425, 1, buffer))
attempt('userfaultfd', lambda: system_call(282 if IS_ARM else 323, 1))
attempt('personality', lambda: checked(libc.personality(0x0400000)))
attempt('crypto', lambda: socket.socket(38, socket.SOCK_SEQPACKET, 0))
attempt('netlink', lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16))
attempt('secret', lambda: system_call(447, 0))
attempt('terminal', lambda: terminal())
attempt('future', lambda: system_call(463, 0, 0, 0, 0, 0, 0))
attempt('foreign', lambda: system_call(0x40000000 + 39))
";
    let terminal = "import pty, fcntl, termios\ndef terminal():\n    child, _ = pty.fork()\n    if child == 0:\n        \
        try: fcntl.ioctl(0, termios.TIOCSTI, b'x')\n        except OSError as error: os._exit(error.errno)\n        os._exit(0)\n    \
        number = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])\n    if number: raise OSError(number, 'refused')\n";
    let script = format!("{terminal}{script}");
    let unfiltered = run_without(&[FILTER], &script).await;
    let filtered = run_without(&[], &script).await;
    // Whatever this kernel has itself must be open without the filter, or this would show nothing.
    for sure in ["userfaultfd succeeded", "personality succeeded", "netlink succeeded"] {
        assert!(unfiltered.has(sure), "{unfiltered:?}");
    }
    for closed in [
        "io_uring ENOSYS",
        "userfaultfd ENOSYS",
        "personality EPERM",
        "crypto EAFNOSUPPORT",
        "netlink EAFNOSUPPORT",
        "secret ENOSYS",
        "terminal EPERM",
        "future ENOSYS",
        "foreign ENOSYS",
    ] {
        assert!(filtered.has(closed), "{closed}: {filtered:?}");
    }
    assert!(!unfiltered.has("terminal EPERM") && !unfiltered.has("personality EPERM"));
}

/// What only the machine's root may do is refused to a room's root too.
#[tokio::test]
async fn the_filter_holds_even_the_root_of_the_machine() {
    if lacks_root() {
        return;
    }
    // Arguments that no kernel accepts, so that nothing happens where the call is open: its error is another one then.
    let script = r"
attempt('mount', lambda: checked(libc.mount(b'none', b'/nowhere', b'nothing', 0, None)))
attempt('umount', lambda: checked(libc.umount2(b'/nowhere', 0)))
attempt('pivot_root', lambda: system_call(41 if IS_ARM else 155, b'/nowhere', b'/nowhere'))
attempt('setns', lambda: checked(libc.setns(-1, 0)))
attempt('bpf', lambda: system_call(280 if IS_ARM else 321, 9999, 0, 0))
attempt('perf', lambda: system_call(241 if IS_ARM else 298, 0, 0, -1, -1, 0))
attempt('module', lambda: system_call(273 if IS_ARM else 313, -1, b'', 0))
attempt('kexec', lambda: system_call(104 if IS_ARM else 246, 0, 99, 0, 0xffff0000))
attempt('reboot', lambda: system_call(142 if IS_ARM else 169, 0, 0, 0, 0))
attempt('swapon', lambda: checked(libc.swapon(b'/nowhere', 0)))
attempt('acct', lambda: checked(libc.acct(b'/nowhere')))
attempt('quota', lambda: system_call(60 if IS_ARM else 179, -1, 0, 0, 0))
attempt('clock', lambda: checked(libc.clock_settime(999, ctypes.create_string_buffer(16))))
attempt('handle', lambda: system_call(265 if IS_ARM else 304, -1, 0, 0))
attempt('open_tree', lambda: system_call(428, -1, b'nowhere', 0))
attempt('fsopen', lambda: system_call(430, b'nothing', 0))
";
    let open = run_without(&[OWN_USER, USER_NAMESPACE, FILTER], script).await;
    let closed = run_without(&[OWN_USER, USER_NAMESPACE], script).await;
    let names: Vec<&str> =
        script.split("attempt('").skip(1).map(|s| s.split('\'').next().unwrap()).collect();
    assert_eq!(names.len(), 16);
    for name in names {
        let refusal = format!("{name} EPERM");
        assert!(closed.has(&refusal), "{name}: {closed:?}");
        assert!(!open.has(&refusal), "{name}: {open:?}");
    }
}
