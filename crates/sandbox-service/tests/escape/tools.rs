//! What must go on working in a room, and what is told about its protections.

use crate::attack::{Machine, run_without};
use sandbox_service::backend::SandboxBackend;

#[test]
fn the_protections_of_this_machine_are_told() {
    let machine = Machine::without(&[]);
    let limits = machine.backend.limits();
    let told = |limit: &str| limits.get(limit).and_then(|means| means.as_str()).unwrap_or_default();
    assert_eq!(told("system_calls"), "seccomp");
    for limit in ["memory", "processes", "cpu", "disk_share", "disk"] {
        assert!(!told(limit).is_empty(), "{limit}: {limits}");
    }
}

#[tokio::test]
async fn ordinary_tools_still_run() {
    let script = r#"
import shutil, subprocess, threading, multiprocessing
def run(name, *command):
    if not shutil.which(command[0], path='/usr/local/bin:/usr/bin:/bin'): return
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode: say(name, 'failed', done.stdout, done.stderr)
run('git', 'git', 'init', '-q', 'repository')
run('node', 'node', '-e', 'require("child_process").execSync("true"); require("os").networkInterfaces()')
run('perl', 'perl', '-e', 'system("true") == 0 or die')
run('shell', 'bash', '-c', 'ps >/dev/null; ip=$(hostname); mkfifo /tmp/pipe; timeout 5 true')
run('threads', 'python3', '-c', 'import threading; t = threading.Thread(target=print); t.start(); t.join()')
run('debugger', 'gdb', '-batch', '-ex', 'run', '--args', 'true')
run('compiler', 'sh', '-c', 'echo "int main(){}" | cc -x c - -o /tmp/program && cp /tmp/program . && ./program')
run('loopback', 'python3', '-c', 'import socket; s = socket.create_server(("127.0.0.1", 0)); socket.create_connection(s.getsockname())')
say('all done')
"#;
    let outcome = run_without(&[], script).await;
    assert!(outcome.has("all done") && !outcome.said.contains("failed"), "{outcome:?}");
}
