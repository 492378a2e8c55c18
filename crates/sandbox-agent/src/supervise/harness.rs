//! The harness: started as its manifest says, spoken to by its protocol.

mod launch;
mod words;

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::acp::{CallError, Connection, Message, RpcError, Update};
use super::policy::CUSTOM_TOOLS;
use super::room::{Room, RoomError};

pub(super) use launch::Launch;
pub(super) use words::UnknownWord;

/// Harnesses start slowly when many of them do: opencode needs 20 s when eight share two processors.
const START_WITHIN: Duration = Duration::from_secs(90);
const ANSWER_WITHIN: Duration = Duration::from_mins(1);
const END_WITHIN: Duration = Duration::from_secs(2);

/// Where things lie in the harness's room.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Places {
    /// The home in the harness's room.
    #[arg(long, default_value = "/home/agent")]
    pub(super) home: PathBuf,
    /// The workspace in the harness's room.
    #[arg(long, default_value = "/workspace")]
    pub(super) workspace: PathBuf,
    /// Where the harness is installed in its room.
    #[arg(long, default_value = "/opt/harness")]
    pub(super) harness: PathBuf,
    /// Where model calls go in the harness's room.
    #[arg(long, default_value = "http://127.0.0.1:4000")]
    pub(super) gateway_url: String,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum HarnessError {
    #[error("its manifest is wrong: {0}")]
    Manifest(#[from] UnknownWord),
    #[error("its manifest has an empty command")]
    NoCommand,
    #[error(transparent)]
    Room(#[from] RoomError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("it gave its session no name")]
    NoSession,
    #[error("it cannot ask for leave, which tools of this agent need")]
    CannotAsk,
    #[error("its room has no way to the client's tools")]
    NoTools,
}

pub(super) struct Harness {
    pub(super) connection: Connection,
    pub(super) takes_images: bool,
    loads_sessions: bool,
    resumes_sessions: bool,
}

/// A session that the harness has open.
pub(super) struct OpenSession {
    pub(super) id: String,
    /// Its `configOptions`.
    options: Value,
    /// The user's last message in the replay, if it was loaded.
    pub(super) last_user_message: Option<String>,
}

impl Harness {
    /// Starts the process and agrees on the protocol.
    pub(super) async fn start(
        launch: &Launch,
        room: &Room,
        places: &Places,
    ) -> Result<Self, HarnessError> {
        let (command, environment) = (launch.command(places)?, launch.environment(places)?);
        let process = room.spawn(command, environment, &places.workspace).await?;
        let mut connection = Connection::new(process);
        let parameters = json!({
            "protocolVersion": 1,
            "clientCapabilities": {
                "fs": {"readTextFile": false, "writeTextFile": false},
                "terminal": false,
            },
            "clientInfo": {"name": "sandbox-agent", "version": env!("CARGO_PKG_VERSION")},
        });
        let answer = connection.call("initialize", parameters, START_WITHIN, drop).await?;
        let can = |pointer| answer.pointer(pointer).and_then(Value::as_bool).unwrap_or_default();
        let takes_images = can("/agentCapabilities/promptCapabilities/image");
        let loads_sessions = can("/agentCapabilities/loadSession");
        let resume = answer.pointer("/agentCapabilities/sessionCapabilities/resume");
        let resumes_sessions = resume.is_some_and(|resume| !resume.is_null());
        Ok(Self { connection, takes_images, loads_sessions, resumes_sessions })
    }

    pub(super) async fn new_session(
        &mut self,
        launch: &Launch,
        room: &Room,
        places: &Places,
    ) -> Result<OpenSession, HarnessError> {
        let servers = servers(launch, room)?;
        let parameters = json!({"cwd": places.workspace, "mcpServers": servers});
        let answer = self.connection.call("session/new", parameters, ANSWER_WITHIN, drop).await?;
        let id = answer.get("sessionId").and_then(Value::as_str).ok_or(HarnessError::NoSession)?;
        Ok(OpenSession { id: id.to_owned(), options: options_of(&answer), last_user_message: None })
    }

    /// Takes up a session that another process of the harness had. What it replays is not news, but tells which prompt it had last: where
    /// that does not matter, it need not replay anything.
    pub(super) async fn take_up_session(
        &mut self,
        id: &str,
        needs_replay: bool,
        launch: &Launch,
        room: &Room,
        places: &Places,
    ) -> Result<OpenSession, HarnessError> {
        let method = match (self.resumes_sessions, self.loads_sessions) {
            (true, _) if !needs_replay => "session/resume",
            (_, true) => "session/load",
            (true, false) => "session/resume",
            (false, false) => {
                let message = "it cannot take up sessions".to_owned();
                let error = RpcError { code: 0, message };
                return Err(CallError::Refused { method: "session/load", error }.into());
            }
        };
        let servers = servers(launch, room)?;
        let parameters = json!({"sessionId": id, "cwd": places.workspace, "mcpServers": servers});
        let mut last = None::<(Option<String>, String)>;
        let note = |update| {
            let Update::UserMessageChunk(chunk) = update else { return };
            match &mut last {
                Some((id, text)) if *id == chunk.message_id => text.push_str(&chunk.text()),
                Some(_) | None => last = Some((chunk.message_id.clone(), chunk.text())),
            }
        };
        let answer = self.connection.call(method, parameters, ANSWER_WITHIN, note).await?;
        let last_user_message = last.map(|(_, text)| text);
        Ok(OpenSession { id: id.to_owned(), options: options_of(&answer), last_user_message })
    }

    /// Starts it and has it take up a session of its own.
    pub(super) async fn take_up(
        launch: &Launch,
        id: &str,
        room: &Room,
        places: &Places,
    ) -> Result<Self, HarnessError> {
        let mut harness = Self::start(launch, room, places).await?;
        let open = harness.take_up_session(id, false, launch, room, places).await?;
        harness.prepare_session(&open, launch).await?;
        Ok(harness)
    }

    /// Has the session use the agent's model, where the harness offers the choice, and ask for leave if the agent's tools need it.
    pub(super) async fn prepare_session(
        &mut self,
        session: &OpenSession,
        launch: &Launch,
    ) -> Result<(), HarnessError> {
        if session.option("model").is_some() {
            self.choose(session, "model", &launch.model_name()?).await?;
        }
        let asking = launch.manifest.asking_mode.as_deref();
        if !launch.policy.needs_asking() {
            let free = session.values("mode").find(|mode| Some(*mode) != asking);
            return match free.filter(|_| session.current("mode") == asking) {
                Some(free) => self.choose(session, "mode", free).await,
                None => Ok(()),
            };
        }
        let asking = asking.filter(|asking| session.values("mode").any(|mode| mode == *asking));
        self.choose(session, "mode", asking.ok_or(HarnessError::CannotAsk)?).await
    }

    async fn choose(
        &mut self,
        session: &OpenSession,
        what: &str,
        value: &str,
    ) -> Result<(), HarnessError> {
        if session.current(what) == Some(value) {
            return Ok(());
        }
        let option = session.option(what).and_then(|option| option.get("id"));
        let parameters = json!({"sessionId": session.id, "configId": option, "value": value});
        let method = "session/set_config_option";
        self.connection.call(method, parameters, ANSWER_WITHIN, drop).await?;
        Ok(())
    }

    /// Ends the process and everything else in its room, and waits for the end.
    pub(super) async fn kill(mut self, room: &Room) -> Result<(), RoomError> {
        room.signal_everything(Signal::SIGKILL).await?;
        let end = async { while !matches!(self.connection.next().await, Message::Ended(_)) {} };
        timeout(END_WITHIN, end).await.map_err(|_| RoomError::Silent)
    }
}

impl OpenSession {
    /// Whether the harness can use the model in this session without being started again.
    pub(super) fn offers_model(&self, model_name: &str) -> bool {
        self.values("model").any(|value| value == model_name)
    }

    fn current(&self, what: &str) -> Option<&str> {
        self.option(what)?.get("currentValue").and_then(Value::as_str)
    }

    /// What the session's option can be set to.
    fn values(&self, what: &str) -> impl Iterator<Item = &str> {
        let options = self.option(what).and_then(|option| option.get("options")?.as_array());
        let values = options.into_iter().flatten();
        values.filter_map(|option| option.get("value").and_then(Value::as_str))
    }

    fn option(&self, what: &str) -> Option<&Value> {
        let is_it = |option: &&Value| {
            let says = |field| option.get(field).and_then(Value::as_str) == Some(what);
            says("category") || says("id")
        };
        self.options.as_array()?.iter().find(is_it)
    }
}

/// What the harness is to start for the client's tools, if the agent has any.
fn servers(launch: &Launch, room: &Room) -> Result<Value, HarnessError> {
    if launch.policy.custom_tools().next().is_none() {
        return Ok(json!([]));
    }
    let (command, arguments) = room.tools_command().ok_or(HarnessError::NoTools)?;
    Ok(json!([{"name": CUSTOM_TOOLS, "command": command, "args": arguments, "env": []}]))
}

fn options_of(answer: &Value) -> Value {
    answer.get("configOptions").cloned().unwrap_or_default()
}
