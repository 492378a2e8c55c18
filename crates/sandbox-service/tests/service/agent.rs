//! sandbox-agent as the test plays it: it dials the link from outside, with the identity that its sandbox was given.

use std::fs;
use std::path::Path;

use futures::{SinkExt, StreamExt};
use platform_core::id::{SandboxId, SessionId};
use platform_messaging::proto::link::frame::Body;
use platform_messaging::proto::link::{Frame, Hello, Hydrate, Pong, Startup};
use platform_messaging::{decode, encode};
use sandbox_service::backend::local::layout::Room;
use sandbox_service::backend::local::process::Process;
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::house::House;

pub struct Agent {
    pub sandbox: SandboxId,
    pub token: String,
    socket: Mutex<WebSocketStream<UnixStream>>,
}

impl Agent {
    /// Waits until the session's sandbox runs, then dials for it.
    pub async fn dial(house: &mut House, session: SessionId, epoch: u64) -> Self {
        house.startup(session, "booting").await;
        let sandbox = house.sandbox_of(session, epoch).await;
        Self::of(house, sandbox).await
    }

    pub async fn dial_warm(house: &House) -> Self {
        let sandbox = house.unclaimed().await;
        Self::of(house, sandbox).await
    }

    /// The same sandbox dials once more.
    pub async fn again(house: &House, before: &Self) -> Self {
        let socket = Mutex::new(dial(house).await);
        Self { sandbox: before.sandbox, token: before.token.clone(), socket }
    }

    /// The same sandbox dials a certain replica.
    pub async fn at(socket: &Path, before: &Self) -> Self {
        let stream = UnixStream::connect(socket).await.unwrap();
        let socket = tokio_tungstenite::client_async("ws://link/", stream).await.unwrap().0;
        Self { sandbox: before.sandbox, token: before.token.clone(), socket: Mutex::new(socket) }
    }

    /// The same sandbox dials whichever replica answers, as sandbox-agent does.
    pub async fn redial(house: &House, before: &Self) -> Self {
        loop {
            for entry in fs::read_dir(house.layout().links()).unwrap().flatten() {
                let Ok(stream) = UnixStream::connect(entry.path()).await else { continue };
                if let Ok((socket, _)) = tokio_tungstenite::client_async("ws://link/", stream).await
                {
                    let socket = Mutex::new(socket);
                    return Self { sandbox: before.sandbox, token: before.token.clone(), socket };
                }
            }
            tokio::task::yield_now().await;
        }
    }

    async fn of(house: &House, sandbox: SandboxId) -> Self {
        let folder = house.layout().sandbox(sandbox);
        // Its rooms run once both have their pid files; until then the service would not have it on its books either.
        for room in Room::BOTH {
            while fs::read_to_string(folder.began_file(room)).unwrap_or_default().is_empty() {
                tokio::task::yield_now().await;
            }
        }
        let identity = fs::read(folder.identity()).unwrap();
        let identity: serde_json::Value = serde_json::from_slice(&identity).unwrap();
        let token = identity.get("token").unwrap().as_str().unwrap().to_owned();
        Self { sandbox, token, socket: Mutex::new(dial(house).await) }
    }

    pub async fn hello(&mut self, epoch: u64, harness_ready: bool) {
        self.say(epoch, harness_ready, "").await;
    }

    /// As a sandbox with a turn under way.
    pub async fn hello_during(&mut self, epoch: u64, turn_id: &str) {
        self.say(epoch, true, turn_id).await;
    }

    pub async fn welcome(&mut self) {
        let Body::Welcome(welcome) = self.next_raw().await else { panic!("not welcome") };
        assert!(!welcome.superseded);
    }

    async fn say(&mut self, epoch: u64, harness_ready: bool, turn_id: &str) {
        let hello = Hello {
            sandbox_id: self.sandbox.uuid().to_string(),
            token: self.token.clone(),
            epoch,
            harness_ready,
            turn_id: turn_id.to_owned(),
            ..Hello::default()
        };
        self.send(Body::Hello(hello)).await;
    }

    /// As a sandbox that knows nothing yet.
    pub async fn say_hello(&mut self) {
        self.hello(0, false).await;
        self.welcome().await;
    }

    pub async fn hydrated(&mut self) -> Hydrate {
        let next = self.next().await;
        let Body::Hydrate(hydrate) = next else { panic!("{next:?} instead of Hydrate") };
        hydrate
    }

    pub async fn startup(&mut self, phase: &str) {
        let startup = Startup { phase: phase.to_owned(), ..Startup::default() };
        self.send(Body::Startup(startup)).await;
    }

    pub async fn send(&self, body: Body) {
        let packet = Message::Binary(encode(&Frame { body: Some(body) }).into());
        self.socket.lock().await.send(packet).await.unwrap();
    }

    /// The next frame that is no ping.
    pub async fn next(&mut self) -> Body {
        loop {
            let next = self.next_raw().await;
            let Body::Ping(ping) = next else { return next };
            self.send(Body::Pong(Pong { nonce: ping.nonce })).await;
        }
    }

    pub async fn next_raw(&mut self) -> Body {
        let packet = self.socket.lock().await.next().await.unwrap().unwrap();
        decode::<Frame>(&packet.into_data()).unwrap().body.unwrap()
    }

    pub async fn until_closed(&mut self) {
        while !self.is_closed().await {}
    }

    pub async fn is_closed(&mut self) -> bool {
        !matches!(self.socket.lock().await.next().await, Some(Ok(Message::Binary(_))))
    }

    pub fn pids(&self, house: &House) -> [i32; 2] {
        let folder = house.layout().sandbox(self.sandbox);
        Room::BOTH
            .map(|room| fs::read_to_string(folder.pid_file(room)).unwrap().trim().parse().unwrap())
    }

    pub fn kill_rooms(&self, house: &House) {
        for pid in self.pids(house) {
            if let Some(process) = Process::open(pid, None).unwrap() {
                process.kill();
            }
        }
    }
}

async fn dial(house: &House) -> WebSocketStream<UnixStream> {
    let stream = UnixStream::connect(house.link_socket()).await.unwrap();
    tokio_tungstenite::client_async("ws://link/", stream).await.unwrap().0
}
