//! Attacks on what all share: processes, memory, descriptors, and the memory behind temporary files.

use platform_core::environment::Resources;

use crate::attack::{Machine, Missing, Outcome, USER, lacks_cgroup};

const PROCESS_GROUP: Missing =
    Missing::in_plan("plan['cgroups'] = [c for c in plan['cgroups'] if '/pids/' not in c]");
const MEMORY_GROUP: Missing =
    Missing::in_plan("plan['cgroups'] = [c for c in plan['cgroups'] if '/memory/' not in c]");
/// Of both the groups, where one hierarchy has all limits.
const GROUPS: Missing = Missing::in_plan("plan['cgroups'] = []");

/// Makes up to 300 children that stay, and says how many there were.
const FORK_BOMB: &str = "made = 0\nwhile made < 300:\n    try: child = os.fork()\n    except OSError as error:\n        say('stopped by', errno.errorcode[error.errno]); break\n    \
    if child == 0: time.sleep(600); os._exit(0)\n    made += 1\nsay('made', made)";
const FEW_PROCESSES: Resources =
    Resources { processes: 64, memory_mib: 2048, disk_mib: 1024, cpu_millis: 2000 };

fn number(outcome: &Outcome, word: &str) -> u64 {
    let line = outcome.said.lines().find_map(|line| line.strip_prefix(&format!("{word} ")));
    line.unwrap_or_else(|| panic!("{outcome:?}")).parse().unwrap()
}

#[tokio::test]
async fn a_fork_bomb_stays_within_its_sandbox() {
    let machine = Machine::without(&[PROCESS_GROUP, GROUPS]);
    if lacks_cgroup(&machine, "processes") {
        return;
    }
    let taken = machine.run_with(FORK_BOMB, FEW_PROCESSES).await;
    assert_eq!(number(&taken, "made"), 300, "this attack fails anyway: {taken:?}");
    let held = Machine::without(&[]).run_with(FORK_BOMB, FEW_PROCESSES).await;
    assert!(number(&held, "made") < 64 && held.has("stopped by EAGAIN"), "{held:?}");
}

#[tokio::test]
async fn those_who_are_dead_and_not_buried_count_too() {
    let script = FORK_BOMB.replace("time.sleep(600); ", "");
    let machine = Machine::without(&[PROCESS_GROUP, GROUPS]);
    if lacks_cgroup(&machine, "processes") {
        return;
    }
    let taken = machine.run_with(&script, FEW_PROCESSES).await;
    assert_eq!(number(&taken, "made"), 300, "this attack fails anyway: {taken:?}");
    let held = Machine::without(&[]).run_with(&script, FEW_PROCESSES).await;
    assert!(number(&held, "made") < 64 && held.has("stopped by EAGAIN"), "{held:?}");
}

#[tokio::test]
async fn without_a_cgroup_a_fork_bomb_is_held_by_the_limit_of_its_user() {
    // As the plan is where no group can be made, with a number that a test can reach.
    let limit = Missing::in_plan("plan['cgroups'] = []; plan['limits']['processes'] = 64");
    let held = Machine::of_user(USER - 1, &[limit]).run_with(FORK_BOMB, FEW_PROCESSES).await;
    assert!(number(&held, "made") < 64 && held.has("stopped by EAGAIN"), "{held:?}");
}

#[tokio::test]
async fn a_memory_bomb_ends_its_own_sandbox() {
    let bomb =
        "kept = []\nfor _ in range(48): kept.append(b'x' * (4 << 20))\nsay('taken', len(kept) * 4)";
    let little = Resources { memory_mib: 64, ..Resources::default() };
    let machine = Machine::without(&[MEMORY_GROUP, GROUPS]);
    if lacks_cgroup(&machine, "memory") {
        return;
    }
    let taken = machine.run_with(bomb, little).await;
    assert_eq!(number(&taken, "taken"), 192, "this attack fails anyway: {taken:?}");
    let held = Machine::without(&[]).run_with(bomb, little).await;
    assert_eq!(held.reason, "out_of_memory", "{held:?}");
    assert!(held.message.contains("memory_mib"), "{held:?}");
}

#[tokio::test]
async fn a_busy_sandbox_gets_no_more_of_the_processor_than_is_its_own() {
    let script = "until = time.monotonic() + 2\nwhile time.monotonic() < until: pass\nsay('used', int(time.process_time() * 1000))";
    let little = Resources { cpu_millis: 100, ..Resources::default() };
    let group =
        Missing::in_plan("plan['cgroups'] = [c for c in plan['cgroups'] if '/cpu/' not in c]");
    let machine = Machine::without(&[group, GROUPS]);
    if lacks_cgroup(&machine, "cpu") {
        return;
    }
    let taken = machine.run_with(script, little).await;
    let held = Machine::without(&[]).run_with(script, little).await;
    // Two seconds at a tenth; a whole processor where nothing holds it, or what this busy machine has to give.
    assert!(number(&held, "used") < 400, "{held:?}");
    assert!(number(&taken, "used") > 600, "this attack fails anyway: {taken:?}");
}

#[tokio::test]
async fn descriptors_run_out_for_a_process_before_they_do_for_the_machine() {
    let script = "opened = 0\nlast = os.open('/dev/null', os.O_RDONLY)\ntry:\n    while opened < 40000: os.dup(last); opened += 1\n\
        except OSError as error: say('stopped by', errno.errorcode[error.errno])\nsay('opened', opened)";
    let limit = Missing::in_plan("plan['limits']['open_files'] = 2**20");
    let taken = Machine::without(&[limit]).run(script).await;
    let held = Machine::without(&[]).run(script).await;
    let (_, most) =
        nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
    if most > 16_384 {
        assert!(number(&taken, "opened") > 16_384, "this attack fails anyway: {taken:?}");
    }
    assert!(number(&held, "opened") < 16_384 && held.has("stopped by EMFILE"), "{held:?}");
}

#[tokio::test]
async fn temporary_files_take_no_more_memory_than_is_theirs() {
    let script = "def fill(folder):\n    written = 0\n    try:\n        with open(folder + '/file', 'wb', 0) as file:\n            \
        while written < 320: written += file.write(b'x' * (1 << 20)) >> 20\n    except OSError: pass\n    \
        try: os.remove(folder + '/file')\n    except OSError: pass\n    say(folder, written)\n\
        for folder in ('/tmp', '/dev/shm', '/run', '/dev', ''): fill(folder)";
    let sizes = Missing::in_bubblewrap(
        "while '--size' in args: drop('--size', 1)\nwhile '--remount-ro' in args: drop('--remount-ro', 1)",
    );
    let taken = Machine::without(&[sizes]).run(script).await;
    let held = Machine::without(&[]).run(script).await;
    for (folder, most) in [("/tmp", 256), ("/dev/shm", 256), ("/run", 1), ("/dev", 0), ("", 0)] {
        assert_eq!(number(&taken, folder), 320, "{folder} {taken:?}");
        assert!(number(&held, folder) <= most, "{folder} {held:?}");
    }
}

#[tokio::test]
async fn locked_memory_and_message_queues_are_bounded() {
    let script = "import mmap\nmemory = mmap.mmap(-1, 32 << 20)\naddress = ctypes.addressof(ctypes.c_char.from_buffer(memory))\n\
        attempt('lock', lambda: checked(libc.mlock(ctypes.c_void_p(address), ctypes.c_size_t(32 << 20))))\n\
        class Attributes(ctypes.Structure): _fields_ = [(name, ctypes.c_long) for name in ('flags', 'most', 'size', 'now', 'a', 'b', 'c', 'd')]\n\
        opened = 0\ntry:\n    while opened < 100:\n        checked(libc.mq_open(b'/queue%d' % opened, os.O_CREAT | os.O_RDWR, 0o600, ctypes.byref(Attributes(0, 10, 8192)))); opened += 1\n\
        except OSError as error: pass\nsay('queues', opened)";
    let limits = Missing::in_plan(
        "plan['limits']['locked_bytes'] = 2**40; plan['limits']['message_queue_bytes'] = 2**40",
    );
    let held = Machine::without(&[]).run(script).await;
    assert!(held.has("lock ENOMEM") && number(&held, "queues") < 12, "{held:?}");
    // Nobody but root can give more than he has.
    if crate::attack::is_root() {
        let taken = Machine::without(&[limits]).run(script).await;
        assert!(number(&taken, "queues") > 0, "{taken:?}");
    }
}
