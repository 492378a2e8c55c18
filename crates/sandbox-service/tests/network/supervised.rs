//! A sandbox with both its processes, whose harness is a script of Python; the test is the platform at the other end of its link.

use std::os::unix::fs::chown;

use futures::{SinkExt, StreamExt};
use platform_core::id::{SandboxId, SessionId};
use platform_messaging::proto::link::frame::Body;
use platform_messaging::proto::link::{Frame, Hydrate, Welcome};
use platform_messaging::{decode, encode};
use sandbox_service::backend::SandboxBackend;
use sandbox_service::backend::local::LocalBackend;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::room::{self, PATIENCE, Walls};

pub struct Supervised {
    backend: LocalBackend,
    sandbox: SandboxId,
    session: SessionId,
    link: WebSocketStream<UnixStream>,
    asked: mpsc::UnboundedReceiver<String>,
    _folder: TempDir,
}

impl Supervised {
    /// Starts it and waits until it has linked. `None` on a machine that lets nobody make a network namespace.
    pub async fn start(harness: &str) -> Option<Self> {
        let (folder, user) = room::place();
        let mut settings = room::settings(folder.path(), user, Walls::Standing);
        let programs = folder.path().join("harnesses/fake-1/bin");
        settings.agent_binary = programs.join("sandbox-agent");
        room::write_program(&programs.join("fake"), &format!("#!/usr/bin/python3 -I\n{harness}"));
        let backend = LocalBackend::open(settings).unwrap();
        if room::has_no_network(&backend) {
            return None;
        }
        let order = room::order();
        backend.prepare(&order).unwrap();
        backend.trust(order.sandbox, room::AUTHORITY).unwrap();
        let socket = backend.layout().links().join("test.sock");
        let links = UnixListener::bind(&socket).unwrap();
        chown(&socket, user, user).unwrap();
        let door = backend.layout().sandbox(order.sandbox).egress_socket();
        let asked = room::open_door(&door, user);
        backend.start(&order).await.unwrap();
        let (stream, _) = timeout(PATIENCE, links.accept()).await.unwrap().unwrap();
        let link = tokio_tungstenite::accept_async(stream).await.unwrap();
        let (sandbox, session) = (order.sandbox, order.session.unwrap());
        let mut started = Self { backend, sandbox, session, link, asked, _folder: folder };
        let Body::Hello(_) = started.next().await else { panic!("the first frame is no hello") };
        started.send(Body::Welcome(Welcome { superseded: false, ..Welcome::default() })).await;
        Some(started)
    }

    /// Tells it whose it is; with that its harness starts.
    pub async fn hydrate(&mut self, transparent_ports: &[u16]) {
        let spec = json!({
            "session_id": self.session,
            "team_id": "team_00000000000000000000000000000001",
            "agent": {
                "id": "agent_00000000000000000000000000000002", "version": 1, "name": "tester",
                "model": {"id": "demo"}, "harness": "fake",
            },
            "transparent_ports": transparent_ports,
        });
        let manifest = json!({
            "name": "fake", "version": "1", "description": "", "protocol": "acp", "command": ["bin/fake"],
        });
        let hydrate = Hydrate {
            session_id: self.session.uuid().to_string(),
            team_id: "00000000-0000-0000-0000-000000000001".to_owned(),
            epoch: 1,
            session_spec: spec.to_string().into_bytes(),
            manifest: manifest.to_string().into_bytes(),
            models: vec!["demo".to_owned()],
        };
        self.send(Body::Hydrate(hydrate)).await;
    }

    /// The next thing that the door is asked.
    pub async fn asks(&mut self) -> String {
        timeout(PATIENCE, self.asked.recv()).await.unwrap().unwrap()
    }

    pub async fn stop(self) {
        drop(self.link);
        self.backend.stop(self.sandbox).await.unwrap();
    }

    async fn send(&mut self, body: Body) {
        let frame = encode(&Frame { body: Some(body) });
        self.link.send(Message::Binary(frame.into())).await.unwrap();
    }

    async fn next(&mut self) -> Body {
        loop {
            let packet = timeout(PATIENCE, self.link.next()).await.unwrap().unwrap().unwrap();
            if let Message::Binary(bytes) = packet {
                return decode::<Frame>(&bytes).unwrap().body.unwrap();
            }
        }
    }
}
