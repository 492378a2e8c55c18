//! Attacks on files and sockets of the machine, and on those who read the sandbox's files from outside.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use platform_core::environment::Resources;
use platform_core::id::{SessionId, TurnId};
use sandbox_service::backend::{DiskSpace, SandboxBackend};
use uuid::Uuid;

use crate::attack::{Machine, Missing, OWN_FILES, assert_each_holds, give_to_user, run_without};

const CANARY: &str = "canary-9b2e";

/// A file and a socket of the machine that the sandbox's user may use wherever he can see them.
struct Host {
    _folder: tempfile::TempDir,
    _listener: UnixListener,
    file: PathBuf,
    socket: PathBuf,
}

impl Host {
    fn new() -> Self {
        let everyone = fs::Permissions::from_mode(0o777);
        let folder = tempfile::Builder::new().prefix("host-").tempdir().unwrap();
        fs::set_permissions(folder.path(), everyone.clone()).unwrap();
        let (file, socket) = (folder.path().join("file"), folder.path().join("socket"));
        fs::write(&file, CANARY).unwrap();
        give_to_user(&file);
        let listener = UnixListener::bind(&socket).unwrap();
        fs::set_permissions(&socket, everyone).unwrap();
        Self { _folder: folder, _listener: listener, file, socket }
    }
}

#[tokio::test]
async fn files_and_sockets_of_the_machine_are_out_of_reach() {
    let host = Host::new();
    let script = format!(
        "file, door = '{}', '{}'\ndef reach(action, path):\n    for root in ('', '/host', '/proc/1/root', '/proc/self/cwd/../../../../..', '/..'):\n        \
         try: return action(root + path)\n        except OSError as error: last = error\n    raise last\n\
         attempt('read', lambda: reach(lambda path: open(path).read(), file))\n\
         attempt('connect', lambda: reach(lambda path: socket.socket(socket.AF_UNIX).connect(path), door))",
        host.file.display(),
        host.socket.display()
    );
    let taken = run_without(&[OWN_FILES], &script).await;
    assert!(taken.has("read succeeded") && taken.has("connect succeeded"), "{taken:?}");
    let held = run_without(&[], &script).await;
    assert!(held.has("read ENOENT") && held.has("connect ENOENT"), "{held:?}");
}

#[tokio::test]
async fn a_link_in_the_workspace_leads_nowhere() {
    let host = Host::new();
    let script = format!(
        "os.symlink('{}', '/workspace/link')\nattempt('follow', lambda: open('/workspace/link').read())",
        host.file.display()
    );
    // The machine's folder at its own place in the room.
    let own_files = format!("mount('--bind', '{0}', '{0}')", host.file.parent().unwrap().display());
    let missing = Missing::in_bubblewrap(own_files.leak());
    assert_each_holds(&[missing], &script, "follow succeeded").await;
}

#[tokio::test]
async fn only_its_own_folders_can_be_written() {
    let script = "for path in ('/', '/dev', '/etc', '/opt', '/home', '/usr', '/run/egress', '/opt/harness', '/proc'):\n    \
        attempt(path, lambda: open(path + '/x', 'w'))\n\
        for path in ('/workspace', '/home/agent', '/tmp', '/dev/shm'):\n    attempt(path, lambda: open(path + '/x', 'w'))";
    let held = run_without(&[], script).await;
    for own in ["/workspace", "/home/agent", "/tmp", "/dev/shm"] {
        assert!(held.has(&format!("{own} succeeded")), "{held:?}");
    }
    let succeeded = held.said.lines().filter(|line| line.ends_with(" succeeded")).count();
    assert_eq!(succeeded, 4, "{held:?}");
    let open = Missing::in_bubblewrap("while '--remount-ro' in args: drop('--remount-ro', 1)");
    let taken = run_without(&[open], script).await;
    assert!(taken.has("/ succeeded") && taken.has("/dev succeeded"), "{taken:?}");
}

#[tokio::test]
async fn files_outside_the_workspace_are_not_linked_into_it() {
    // With a second name in the workspace, a file that platform or machine own would be changed along with the workspace.
    let script = "attempt('link', lambda: os.link(source, '/workspace/linked') if not os.path.exists('/host') else os.link(*both))";
    let host = Host::new();
    let script = format!(
        "source = '/opt/lap/sandbox-agent'\nboth = ('/host{0}', '/host{0}-linked')\n{script}",
        host.file.display()
    );
    assert_each_holds(&[OWN_FILES], &script, "link succeeded").await;
    assert!(run_without(&[], &script).await.has("link EXDEV"));
}

/// Swaps a folder with a link out of the workspace, as fast as it can, until it is ended.
const SWAPPER: &str = "os.makedirs('/workspace/real/deep')\nopen('/workspace/real/file', 'w').write('own')\nos.symlink(outside, '/workspace/link')\n\
    open('/workspace/ready', 'w')\nrenameat2 = 276 if IS_ARM else 316\n\
    while True: system_call(renameat2, -100, b'/workspace/real', -100, b'/workspace/link', 2)";

#[tokio::test]
async fn whoever_reads_the_workspace_from_outside_follows_no_link() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("file"), CANARY.repeat(1 << 20)).unwrap();
    let machine = Machine::without(&[]);
    let script = format!("outside = '{}'\n{SWAPPER}", outside.path().display());
    let order = machine.start(&script).await;
    let workspace = machine.workspace(&order);
    while !workspace.join("ready").exists() {
        tokio::task::yield_now().await;
    }
    // A reader that goes by paths is led astray at once.
    let astray = (0..100_000)
        .any(|_| fs::metadata(workspace.join("real/file")).is_ok_and(|file| file.len() > 1 << 20));
    assert!(astray, "the attack fails anyway");

    let (source, backend) = (order.session.unwrap(), &machine.backend);
    let plenty = DiskSpace { bytes: u64::MAX, files: u64::MAX };
    for _ in 0..20 {
        let turn = TurnId::from_uuid(Uuid::now_v7());
        backend.take_snapshot(source, turn, Arc::default()).await.unwrap();
        let copy = SessionId::from_uuid(Uuid::now_v7());
        backend.restore_snapshot(copy, source, turn).await.unwrap();
        let copied = backend.layout().workspace(copy).workspace;
        assert!(!holds_canary(&copied), "the snapshot has what lies outside");
        let used = backend.used_disk(order.sandbox, order.session, plenty);
        assert!(used.bytes < 1 << 20, "what lies outside was measured: {used:?}");
    }
    backend.stop(order.sandbox).await.unwrap();
    backend.remove_workspace(source).await.unwrap();
    assert!(outside.path().join("file").exists(), "what lies outside was removed");
}

fn holds_canary(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().flatten().any(|entry| {
        let kind = entry.file_type().unwrap();
        let path = entry.path();
        (kind.is_dir() && holds_canary(&path))
            || (kind.is_file() && fs::read_to_string(&path).unwrap().starts_with(CANARY))
    })
}

#[tokio::test]
async fn a_link_in_place_of_a_folder_is_not_followed_by_the_next_start() {
    let machine = Machine::without(&[]);
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("file"), CANARY).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    let before = mode(outside.path());
    let order = machine.prepare("say('started')", Resources::default());
    // All that the agent can change lies below these folders, never the folders themselves.
    let workspace = machine.workspace(&order);
    symlink(outside.path(), workspace.join("link")).unwrap();
    machine.backend.prepare(&order).unwrap();
    machine.backend.start(&order).await.unwrap();
    assert!(machine.finish(&order).await.has("started"));
    assert_eq!(mode(outside.path()), before);
    let root = workspace.parent().unwrap();
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(root).unwrap());
    assert_eq!(
        owner,
        nix::unistd::geteuid().as_raw(),
        "the agent could replace its workspace by a link"
    );
}
