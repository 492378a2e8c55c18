//! A sandbox in folders of its own, and the platform's side of its link.

use std::cell::Cell;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use platform_core::id::{EventId, Id, SandboxId, SessionId, TurnId};
use platform_core::journal::Entry;
use platform_core::session::{ContentBlock, EventBody};
use platform_core::turn::{ActionAnswer, AnsweredAction};
use platform_messaging::proto::link::frame::Body;
use platform_messaging::proto::link::{
    AnswerAction, Frame, Hello, Hydrate, InterruptTurn, Journal, JournalAck, Prepare, StartTurn,
    Welcome,
};
use platform_messaging::{decode, encode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Packet;
use uuid::Uuid;

/// Long enough for a busy machine; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const SESSION: Uuid = Uuid::from_u128(5);

pub(crate) fn turn(number: u128) -> TurnId {
    Id::from_uuid(Uuid::from_u128(number))
}

/// The folders of one session, which outlive its sandboxes.
pub(crate) struct Volume {
    folder: TempDir,
    /// How far the platform took the journal of the first sandbox.
    taken: Cell<u64>,
}

impl Volume {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["home", "workspace", "journal", "harness/bin", "links"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let tests = std::env::current_exe().unwrap();
        let fake = tests.ancestors().nth(2).unwrap().join("examples/fake_harness");
        assert!(fake.exists(), "{} is built by `cargo test`", fake.display());
        std::os::unix::fs::symlink(fake, folder.path().join("harness/bin/fake")).unwrap();
        Self { folder, taken: Cell::new(0) }
    }

    /// Notes how far the journal was taken over this link, for the sandbox after.
    pub(crate) fn took(&self, link: &Link) {
        self.taken.set(link.through);
    }

    /// What the sandbox after the first one is told, and more.
    pub(crate) fn replaced(&self, more: &Value) -> Value {
        let mut spec = json!({
            "is_replacement": true, "has_unfinished_turn": true,
            "former_journal": {"epoch": 1, "through": self.taken.get()},
        });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The lines of a file in the fake harness's state.
    pub(crate) fn fake_state(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path("home/.fake").join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The text of every prompt that the harness was given in a session.
    pub(crate) fn prompts(&self, session: &str) -> Vec<String> {
        let lines = self.fake_state(session);
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// `supervise` and `init` of one sandbox.
pub(crate) struct Sandbox {
    listener: UnixListener,
    supervise: Child,
    init: Child,
}

impl Sandbox {
    pub(crate) fn start(volume: &Volume) -> Self {
        let path = |name: &str| volume.path(name);
        let socket = path("links/replica.sock");
        fs::remove_file(&socket).ok();
        let listener = UnixListener::bind(socket).unwrap();
        let sandbox: SandboxId = Id::from_uuid(Uuid::from_u128(9));
        let identity = json!({"sandbox_id": sandbox, "token": "secret"});
        fs::write(path("identity.json"), identity.to_string()).unwrap();

        let spawn = |role: &str, arguments: &[(&str, &Path)]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_sandbox-agent"));
            command.args([role, "--log-level", "warn", "--home"]).arg(path("home"));
            command.arg("--workspace").arg(path("workspace"));
            for (name, value) in arguments {
                command.arg(name).arg(value);
            }
            command.kill_on_drop(true).spawn().unwrap()
        };
        let room = path("room.sock");
        let supervise = spawn(
            "supervise",
            &[
                ("--identity", &path("identity.json")),
                ("--links", &path("links")),
                ("--room", &room),
                ("--journal", &path("journal")),
                ("--harness", &path("harness")),
            ],
        );
        let init = spawn("init", &[("--room", &room)]);
        Self { listener, supervise, init }
    }

    /// Takes the next connection and its greeting.
    pub(crate) async fn accept(&self) -> (Link, Hello) {
        let (mut link, hello) = self.accept_without_welcome().await;
        link.send(Body::Welcome(Welcome::default())).await;
        (link, hello)
    }

    pub(crate) async fn accept_without_welcome(&self) -> (Link, Hello) {
        let accepted = async {
            let (stream, _) = self.listener.accept().await.unwrap();
            let stream: Box<dyn Wire> = Box::new(stream);
            tokio_tungstenite::accept_async(stream).await.unwrap()
        };
        Link::greeted(timeout(PATIENCE, accepted).await.unwrap()).await
    }

    /// Waits until both processes have ended by themselves.
    pub(crate) async fn ended(mut self) -> (ExitStatus, ExitStatus) {
        let ends = async { tokio::join!(self.supervise.wait(), self.init.wait()) };
        let (supervise, init) = timeout(PATIENCE, ends).await.unwrap();
        (supervise.unwrap(), init.unwrap())
    }

    /// As when its machine is lost: nothing can be said any more.
    pub(crate) async fn kill(mut self) {
        self.supervise.kill().await.unwrap();
        let init = timeout(PATIENCE, self.init.wait()).await.unwrap().unwrap();
        assert_eq!(init.signal(), None, "init ends by itself when supervise is gone");
    }
}

/// What a link runs over.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// The platform's side of one connection. Journal batches are acknowledged as they come, unless a test reads frames itself.
pub(crate) struct Link {
    socket: WebSocketStream<Box<dyn Wire>>,
    through: u64,
}

impl Link {
    pub(crate) async fn greeted(socket: WebSocketStream<Box<dyn Wire>>) -> (Self, Hello) {
        let mut link = Self { socket, through: 0 };
        let Body::Hello(hello) = link.next().await else { panic!("the first frame is no hello") };
        (link, hello)
    }

    pub(crate) async fn send(&mut self, body: Body) {
        let packet = Packet::Binary(encode(&Frame { body: Some(body) }).into());
        self.socket.send(packet).await.unwrap();
    }

    pub(crate) async fn next(&mut self) -> Body {
        loop {
            let packet = timeout(PATIENCE, self.socket.next()).await;
            if let Packet::Binary(bytes) = packet.unwrap().unwrap().unwrap() {
                return decode::<Frame>(&bytes).unwrap().body.unwrap();
            }
        }
    }

    /// Reads on, acknowledging the journal, until `is_last` says so. Answers all entries and all other frames.
    pub(crate) async fn until(
        &mut self,
        is_last: impl Fn(&Told) -> bool,
    ) -> (Vec<Entry>, Vec<Body>) {
        let (mut entries, mut frames) = (Vec::new(), Vec::new());
        loop {
            let body = self.next().await;
            if let Body::Journal(journal) = body {
                for entry in self.take(journal).await {
                    let ends = is_last(&Told::Entry(&entry));
                    entries.push(entry);
                    if ends {
                        return (entries, frames);
                    }
                }
            } else {
                let ends = is_last(&Told::Frame(&body));
                frames.push(body);
                if ends {
                    return (entries, frames);
                }
            }
        }
    }

    /// The new entries of a batch, which must follow the ones before without a gap.
    pub(crate) async fn take(&mut self, journal: Journal) -> Vec<Entry> {
        let mut fresh = Vec::new();
        for entry in journal.entries {
            if entry.number <= self.through {
                continue;
            }
            assert_eq!(entry.number, self.through + 1, "a gap in the journal");
            self.through = entry.number;
            fresh.push(serde_json::from_slice(&entry.body).unwrap());
        }
        self.send(Body::JournalAck(JournalAck { through: self.through })).await;
        fresh
    }

    /// As the platform does after a new connection of the same epoch: it goes on where it was.
    pub(crate) fn expect_after(&mut self, through: u64) {
        self.through = through;
    }

    pub(crate) async fn until_ready(&mut self) -> (Vec<Entry>, Vec<Body>) {
        self.until(
            |told| matches!(told, Told::Frame(Body::Startup(startup)) if startup.phase == "ready"),
        )
        .await
    }

    /// Reads on until a new session is ready and its name was taken. The two go different ways, so either may be first.
    pub(crate) async fn until_opened(&mut self) -> Vec<Entry> {
        let (mut entries, _) = self.until_ready().await;
        let is_name = |entry: &Entry| matches!(entry, Entry::HarnessSession { .. });
        if !entries.iter().any(is_name) {
            let named = |told: &Told| matches!(told, Told::Entry(entry) if is_name(entry));
            entries.extend(self.until(named).await.0);
        }
        entries
    }

    pub(crate) async fn until_failed(&mut self) -> (Vec<Entry>, Vec<Body>) {
        self.until(|told| matches!(told, Told::Frame(Body::Failed(_)))).await
    }

    pub(crate) async fn until_turn_ends(&mut self) -> (Vec<Entry>, Vec<Body>) {
        self.until(|told| matches!(told, Told::Entry(Entry::TurnEnded { .. }))).await
    }

    pub(crate) async fn hydrate(&mut self, epoch: u64, more: Value) {
        self.send(hydrate(epoch, &more)).await;
    }

    /// Starts a turn whose prompt is these lines.
    pub(crate) async fn start_turn(&mut self, number: u128, attempt: u32, prompt: &str) {
        self.start_watched_turn(number, attempt, prompt, 0).await;
    }

    pub(crate) async fn start_watched_turn(
        &mut self,
        number: u128,
        attempt: u32,
        prompt: &str,
        harness_silence_seconds: u64,
    ) {
        self.start_answered_turn(number, attempt, prompt, harness_silence_seconds, &[]).await;
    }

    /// Starts a turn that comes again, with what was answered meanwhile.
    pub(crate) async fn start_answered_turn(
        &mut self,
        number: u128,
        attempt: u32,
        prompt: &str,
        harness_silence_seconds: u64,
        answers: &[AnsweredAction],
    ) {
        let prompt = serde_json::to_vec(&[ContentBlock::text(prompt)]).unwrap();
        let turn_id = turn(number).uuid().to_string();
        let answers =
            if answers.is_empty() { Vec::new() } else { serde_json::to_vec(answers).unwrap() };
        let start = StartTurn { turn_id, attempt, prompt, harness_silence_seconds, answers };
        self.send(Body::StartTurn(start)).await;
    }

    pub(crate) async fn answer(&mut self, number: u128, call: EventId, answer: &ActionAnswer) {
        let (turn_id, event_id) = (turn(number).uuid().to_string(), call.uuid().to_string());
        let answer = serde_json::to_vec(answer).unwrap();
        self.send(Body::AnswerAction(AnswerAction { turn_id, event_id, answer })).await;
    }

    /// Reads on until a call waits for an answer, and answers its event.
    pub(crate) async fn until_asked(&mut self) -> (EventId, Vec<Entry>) {
        let asks = |told: &Told| match told {
            Told::Entry(Entry::Event { body, .. }) => body.required_action().is_some(),
            _ => false,
        };
        let (entries, _) = self.until(asks).await;
        let Some(Entry::Event { id, .. }) = entries.last() else { unreachable!() };
        (*id, entries)
    }

    pub(crate) async fn interrupt(&mut self, number: u128) {
        let turn_id = turn(number).uuid().to_string();
        self.send(Body::InterruptTurn(InterruptTurn { turn_id })).await;
    }
}

/// One thing that a sandbox told.
pub(crate) enum Told<'told> {
    Entry(&'told Entry),
    Frame(&'told Body),
}

fn manifest() -> Vec<u8> {
    let manifest = json!({
        "name": "fake", "version": "1", "description": "a fake", "protocol": "acp",
        "command": ["bin/fake"], "instructions_file": "~/instructions.md", "can_start_warm": true,
        "model_name": "fake/{{model}}", "asking_mode": "asking",
    });
    manifest.to_string().into_bytes()
}

fn models() -> Vec<String> {
    vec!["first".to_owned(), "second".to_owned()]
}

pub(crate) fn prepare() -> Body {
    Body::Prepare(Prepare { manifest: manifest(), models: models() })
}

fn hydrate(epoch: u64, more: &Value) -> Body {
    let session: SessionId = Id::from_uuid(SESSION);
    let mut spec = json!({
        "session_id": session,
        "team_id": "team_00000000000000000000000000000001",
        "agent": {
            "id": "agent_00000000000000000000000000000002", "version": 1, "name": "tester",
            "model": {"id": "second"}, "system": "be brief", "harness": "fake",
        },
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Body::Hydrate(Hydrate {
        session_id: SESSION.to_string(),
        team_id: Uuid::from_u128(1).to_string(),
        epoch,
        session_spec: spec.to_string().into_bytes(),
        manifest: manifest(),
        models: models(),
    })
}

/// What the entries say, in few words, without what differs from run to run.
pub(crate) fn told(entries: &[Entry]) -> Vec<String> {
    let text = |content: &[ContentBlock]| {
        content.iter().filter_map(ContentBlock::as_text).collect::<Vec<_>>().join("|")
    };
    let entries = entries.iter().map(|entry| match entry {
        Entry::HarnessSession { .. } => "session".to_owned(),
        Entry::ActionResumed { .. } => "resumed".to_owned(),
        Entry::TurnStarted { .. } => "started".to_owned(),
        Entry::TurnEnded { stop_reason, message: None, .. } => format!("ended {stop_reason}"),
        Entry::TurnEnded { stop_reason, message: Some(message), .. } => {
            format!("ended {stop_reason}: {message}")
        }
        Entry::Event { body, .. } => match body {
            EventBody::AgentMessage { content } => format!("message {}", text(content)),
            EventBody::AgentThinking { thinking } => {
                format!("thinking {}", thinking.as_deref().unwrap_or_default())
            }
            EventBody::AgentToolUse { name, input, evaluated_permission } => {
                let input = Value::Object(input.clone());
                match evaluated_permission.as_deref() {
                    Some("allow") => format!("tool_use {name} {input}"),
                    other => format!("tool_use {name} {input} {}", other.unwrap()),
                }
            }
            EventBody::AgentCustomToolUse { name, input } => {
                format!("custom {name} {}", Value::Object(input.clone()))
            }
            EventBody::AgentToolResult { content, is_error, .. } => {
                format!("tool_result {} {is_error}", text(content))
            }
            EventBody::SpanModelRequestEnd { model_usage, .. } => {
                format!("used {} {}", model_usage.input_tokens, model_usage.output_tokens)
            }
            EventBody::SessionContextRestored { mode, reason, dropped } => {
                format!("restored {mode}: {reason} / {dropped}")
            }
            other => other.type_name().to_owned(),
        },
    });
    entries.collect()
}

/// A sandbox of a session with this specification that is ready for its first turn, and the harness's own name for the session.
pub(crate) async fn opened(volume: &Volume, spec: Value) -> (Sandbox, Link, String) {
    let sandbox = Sandbox::start(volume);
    let (mut link, _) = sandbox.accept().await;
    link.hydrate(1, spec).await;
    let session = harness_session(&link.until_opened().await);
    (sandbox, link, session)
}

/// The harness's own name for the session.
pub(crate) fn harness_session(entries: &[Entry]) -> String {
    let name = entries.iter().find_map(|entry| match entry {
        Entry::HarnessSession { id } => Some(id.clone()),
        Entry::TurnStarted { .. }
        | Entry::ActionResumed { .. }
        | Entry::TurnEnded { .. }
        | Entry::Event { .. } => None,
    });
    name.unwrap()
}
