//! A sandbox whose harness is the test: it tells `init` what to run, and answers at the door.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use platform_core::environment::Resources;
use platform_core::harness::Manifest;
use platform_core::id::{EnvironmentId, SandboxId, SessionId};
use platform_messaging::framing::{FrameReader, FrameWriter};
use platform_messaging::proto::link::room_frame::Body;
use platform_messaging::proto::link::{ListenOn, RoomFrame, Spawn, Stdin};
use sandbox_service::backend::local::{LocalBackend, LocalSettings};
use sandbox_service::backend::{SandboxBackend, StartOrder};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use uuid::Uuid;

/// Long enough for a busy machine; a test that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_mins(1);
const LONGEST_FRAME: usize = 1 << 20;
const USER: u32 = 64_997;
/// A certificate whose key nobody has.
pub const AUTHORITY: &str = include_str!("authority.pem");
/// What the door says to whatever comes through it.
pub const GREETING: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";

/// Whether the room has a network of its own, or the test takes that away and gives it the machine's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Walls {
    Standing,
    Gone,
}

pub struct Sandbox {
    backend: LocalBackend,
    order: StartOrder,
    incoming: FrameReader<RoomFrame, OwnedReadHalf>,
    outgoing: FrameWriter<RoomFrame, OwnedWriteHalf>,
    asked: mpsc::UnboundedReceiver<String>,
    last_process: u32,
    _folder: TempDir,
}

impl Sandbox {
    /// `None` on a machine that lets nobody make a network namespace.
    pub async fn start() -> Option<Self> {
        Self::start_behind(Walls::Standing).await
    }

    pub async fn start_behind(walls: Walls) -> Option<Self> {
        let (folder, user) = place();
        let backend = LocalBackend::open(settings(folder.path(), user, walls)).unwrap();
        if has_no_network(&backend) {
            return None;
        }
        let order = order();
        backend.prepare(&order).unwrap();
        backend.trust(order.sandbox, AUTHORITY).unwrap();
        let place = backend.layout().sandbox(order.sandbox);
        let asked = open_door(&place.egress_socket(), user);
        let room = UnixListener::bind(place.room().join("room.sock")).unwrap();
        give(&place.room().join("room.sock"), user);
        backend.start(&order).await.unwrap();
        let (socket, _) = timeout(PATIENCE, room.accept()).await.unwrap().unwrap();
        let (incoming, outgoing) = socket.into_split();
        let incoming = FrameReader::new(incoming, LONGEST_FRAME);
        let outgoing = FrameWriter::new(outgoing, LONGEST_FRAME);
        Some(Self { backend, order, incoming, outgoing, asked, last_process: 0, _folder: folder })
    }

    /// Runs a shell script in the room to its end and answers what it said on both outputs.
    pub async fn run(&mut self, script: &str) -> String {
        self.last_process += 1;
        let process = self.last_process;
        let command = ["/bin/bash", "-c", script].map(str::to_owned).to_vec();
        let directory = "/workspace".to_owned();
        self.send(Body::Spawn(Spawn { process, command, directory, environment: HashMap::new() }))
            .await;
        self.send(Body::Stdin(Stdin { process, data: Vec::new(), close: true })).await;
        let mut said = Vec::new();
        loop {
            let frame = timeout(PATIENCE, self.incoming.next()).await;
            let body = frame.unwrap().unwrap().unwrap().body.unwrap();
            if let Body::Output(output) = body {
                said.extend(output.data);
            } else if let Body::Exited(exited) = body
                && exited.process == process
            {
                break;
            }
        }
        String::from_utf8_lossy(&said).trim().to_owned()
    }

    /// Runs a script of Python as a program that knows nothing of proxies.
    pub async fn python(&mut self, script: &str) -> String {
        let prelude = "import os, socket\ndef attempt(action):\n    try:\n        print(action())\n    \
            except OSError as error:\n        print(type(error).__name__)\n";
        self.run(&format!("exec /usr/bin/python3 -I - <<'END'\n{prelude}{script}\nEND")).await
    }

    pub async fn listen_on(&mut self, ports: &[u32]) {
        self.send(Body::ListenOn(ListenOn { ports: ports.to_vec() })).await;
    }

    /// What the door was asked since the last time, each a request's first line and its `X-Lap-Path`.
    pub fn asked(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.asked.try_recv().ok()).collect()
    }

    pub async fn stop(self) {
        self.backend.stop(self.order.sandbox).await.unwrap();
    }

    async fn send(&mut self, body: Body) {
        self.outgoing.send(&RoomFrame { body: Some(body) }).await.unwrap();
    }
}

/// A folder for a sandbox, and as whom it runs.
pub fn place() -> (TempDir, Option<u32>) {
    let folder = tempfile::Builder::new()
        .prefix("network-")
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir()
        .unwrap();
    (folder, nix::unistd::geteuid().is_root().then_some(USER))
}

/// Whether this machine lets nobody make a network namespace.
pub fn has_no_network(backend: &LocalBackend) -> bool {
    let limits = backend.limits();
    let report = limits.get("network").and_then(|network| network.as_str()).unwrap();
    if !report.starts_with("loopback only") {
        return false;
    }
    let made = Command::new("unshare").args(["--map-root-user", "--net", "true"]).status();
    assert!(!made.unwrap().success(), "there could be one: {report}");
    true
}

/// The way in for `init`, which needs the rights to be reached by the room's user.
fn give(socket: &Path, user: Option<u32>) {
    chown(socket, user, user).unwrap();
}

pub fn settings(folder: &Path, user: Option<u32>, walls: Walls) -> LocalSettings {
    let service = PathBuf::from(env!("CARGO_BIN_EXE_sandbox-service"));
    let real = service.with_file_name("sandbox-agent");
    assert!(real.exists(), "{} is missing: cargo build -p sandbox-agent", real.display());
    let programs = folder.join("harnesses/fake-1/bin");
    fs::create_dir_all(&programs).unwrap();
    fs::copy(real, programs.join("sandbox-agent")).unwrap();
    let agent = folder.join("agent");
    let script = "#!/bin/sh\nif [ $1 = init ]; then exec /opt/harness/bin/sandbox-agent \"$@\"; fi\n\
        trap 'exit 0' TERM; sleep 600 & wait\n";
    write_program(&agent, script);
    let launcher = match walls {
        Walls::Standing => service,
        Walls::Gone => launcher_without_walls(folder, &service),
    };
    LocalSettings {
        data: folder.join("data"),
        agent_binary: agent,
        harness_installs: folder.join("harnesses"),
        launcher,
        user,
    }
}

/// The real launcher behind a program that takes the harness's room its network namespace away.
fn launcher_without_walls(folder: &Path, real: &Path) -> PathBuf {
    let (launcher, bubblewrap) = (folder.join("launcher"), folder.join("bubblewrap"));
    let (real, replaced) = (real.display(), bubblewrap.display());
    let change = format!(
        "#!/usr/bin/python3 -I\nimport json, os, sys\nif sys.argv[1] == 'launch':\n    \
         plan = json.load(open(sys.argv[2]))\n    if 'init' in plan['command']:\n        \
         plan['bubblewrap'], plan['network'] = '{replaced}', 'loopback_only'\n        \
         del plan['command'][plan['command'].index('--outside-leads-to'):]\n    \
         json.dump(plan, open(sys.argv[2], 'w'))\nos.execv('{real}', ['{real}'] + sys.argv[1:])\n"
    );
    write_program(&launcher, &change);
    let change = "#!/usr/bin/python3 -I\nimport os, sys\nargs = sys.argv[1:]\nat = args.index('--unshare-all')\n\
        args[at:at + 1] = ['--unshare-' + name for name in ('pid', 'ipc', 'uts', 'cgroup')]\n\
        os.execv('/usr/bin/bwrap', ['bwrap'] + args)\n";
    write_program(&bubblewrap, change);
    launcher
}

pub fn write_program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

pub fn order() -> StartOrder {
    let manifest = "name = \"fake\"\nversion = \"1\"\ndescription = \"\"\nprotocol = \"acp\"\ncommand = [\"fake\"]\n";
    let harness: Manifest = toml::from_str(manifest).unwrap();
    StartOrder {
        sandbox: SandboxId::from_uuid(Uuid::now_v7()),
        team: None,
        environment: EnvironmentId::from_uuid(Uuid::now_v7()),
        session: Some(SessionId::from_uuid(Uuid::now_v7())),
        image: None,
        resources: Resources::default(),
        warm_pool_size: 0,
        harness,
        token: "token".into(),
    }
}

/// Takes every connection in, and notes what it asked for.
pub fn open_door(path: &Path, user: Option<u32>) -> mpsc::UnboundedReceiver<String> {
    let door = UnixListener::bind(path).unwrap();
    give(path, user);
    let (noted, asked) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((connection, _)) = door.accept().await {
            tokio::spawn(answer(connection, noted.clone()));
        }
    });
    asked
}

async fn answer(mut connection: UnixStream, noted: mpsc::UnboundedSender<String>) {
    let Some(head) = head_of(&mut connection).await else { return };
    let mut lines = head.lines();
    let first = lines.next().unwrap_or_default().to_owned();
    let path = lines.find(|line| line.to_ascii_lowercase().starts_with("x-lap-path:"));
    noted.send(path.map_or(first.clone(), |path| format!("{first} {path}"))).ok();
    if first.starts_with("CONNECT") {
        connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok();
        // The program's own first words.
        let mut words = [0; 4096];
        let _spoken_or_closed = connection.read(&mut words).await;
    }
    connection.write_all(GREETING.as_bytes()).await.ok();
    connection.shutdown().await.ok();
}

async fn head_of(connection: &mut UnixStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}
