//! `init` where the network is not ours: programs that know no proxy get out by name, and by nothing else.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use platform_messaging::framing::FrameWriter;
use platform_messaging::proto::link::room_frame::Body;
use platform_messaging::proto::link::{ListenOn, RoomFrame};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixListener;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::platform::PATIENCE;

/// Its own loopback network and its own resolver, as in a pod.
const ENTER: &str =
    "ip link set lo up && mount --bind \"$1\" /etc/resolv.conf && shift && exec \"$@\"";

/// Says for each address which one was reached and what was said there.
const PROGRAM: &str = r#"
import socket, sys
for target in sys.argv[1:]:
    host, port = target.rsplit(":", 1)
    try:
        with socket.create_connection((host, int(port)), 20) as stream:
            print(target, stream.getpeername()[0], stream.recv(100).decode())
    except OSError as error:
        print(target, type(error).__name__)
"#;

async fn can_have_namespaces() -> bool {
    let mut tried = Command::new("unshare");
    tried.args(["--map-root-user", "--net", "--mount", "true"]).stderr(Stdio::null());
    let can = tried.status().await.is_ok_and(|status| status.success());
    if !can {
        eprintln!("not shown: this machine gives no namespaces of its own to a test");
    }
    can
}

fn start_init(folder: &Path) -> Child {
    let resolver = folder.join("resolv.conf");
    fs::write(&resolver, "nameserver 127.0.0.1\n").unwrap();
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net", "--mount", "--", "sh", "-c", ENTER, "sh"]);
    command.arg(resolver).arg(env!("CARGO_BIN_EXE_sandbox-agent"));
    command.args(["init", "--log-level", "warn", "--room"]).arg(folder.join("room.sock"));
    command.arg("--names-lead-to").arg(folder.join("door.sock"));
    command.kill_on_drop(true).spawn().unwrap()
}

/// A door that greets whoever comes in the name of what was asked for.
async fn greet_each(door: UnixListener) {
    while let Ok((stream, _)) = door.accept().await {
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).await.unwrap() > 0 {}
        let asked = head.split(' ').nth(1).unwrap().to_owned();
        let answer = format!("HTTP/1.1 200 OK\r\n\r\nthis is {asked}");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn programs_that_know_no_proxy_get_out_by_name_and_by_nothing_else() {
    if !can_have_namespaces().await {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let room = UnixListener::bind(folder.path().join("room.sock")).unwrap();
    tokio::spawn(greet_each(UnixListener::bind(folder.path().join("door.sock")).unwrap()));
    let init = start_init(folder.path());
    let (socket, _) = timeout(PATIENCE, room.accept()).await.unwrap().unwrap();
    // As `supervise` says it when a session's rules name further ports.
    let mut frames = FrameWriter::new(socket, 1 << 20);
    let body = Some(Body::ListenOn(ListenOn { ports: vec![9418] }));
    frames.send(&RoomFrame { body }).await.unwrap();

    let pid = init.id().unwrap().to_string();
    let run = |targets: &'static [&'static str]| {
        let mut command = Command::new("nsenter");
        command.args(["--target", &pid, "--user", "--net", "--mount", "--preserve-credentials"]);
        command.args(["python3", "-I", "-c", PROGRAM]).args(targets);
        command.kill_on_drop(true);
        async move {
            let output = timeout(PATIENCE, command.output()).await.unwrap().unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{errors}");
            said.lines().map(str::to_owned).collect::<Vec<_>>()
        }
    };
    // Until the frame is heard.
    while run(&["127.0.0.1:9418"]).await != ["127.0.0.1:9418 127.0.0.1 "] {}

    let reached = run(&["api.example:443", "two.example:80", "api.example:80", "git.example:9418"]);
    assert_eq!(
        reached.await,
        [
            "api.example:443 127.64.0.1 this is api.example:443",
            "two.example:80 127.64.0.2 this is two.example:80",
            "api.example:80 127.64.0.1 this is api.example:80",
            "git.example:9418 127.64.0.3 this is git.example:9418",
        ]
    );
    let not = run(&["api.example:22", "127.0.0.1:80", "127.64.9.9:443", "1.1.1.1:443"]);
    assert_eq!(
        not.await,
        [
            "api.example:22 ConnectionRefusedError",
            "127.0.0.1:80 127.0.0.1 ",
            "127.64.9.9:443 127.64.9.9 ",
            "1.1.1.1:443 OSError",
        ]
    );
}
