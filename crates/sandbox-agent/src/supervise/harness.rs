//! The harness: started as its manifest says, spoken to by its protocol.

mod launch;
mod words;

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::acp::{CallError, Connection, Message, RpcError, Update};
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
}

pub(super) struct Harness {
    pub(super) connection: Connection,
    pub(super) takes_images: bool,
    loads_sessions: bool,
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
        Ok(Self { connection, takes_images, loads_sessions })
    }

    pub(super) async fn new_session(&mut self, folder: &Path) -> Result<OpenSession, HarnessError> {
        let parameters = json!({"cwd": folder, "mcpServers": []});
        let answer = self.connection.call("session/new", parameters, ANSWER_WITHIN, drop).await?;
        let id = answer.get("sessionId").and_then(Value::as_str).ok_or(HarnessError::NoSession)?;
        Ok(OpenSession { id: id.to_owned(), options: options_of(&answer), last_user_message: None })
    }

    /// Takes up a session that another process of the harness had. What it replays is not news, but tells which prompt it had last.
    pub(super) async fn load_session(
        &mut self,
        id: &str,
        folder: &Path,
    ) -> Result<OpenSession, HarnessError> {
        let method = "session/load";
        if !self.loads_sessions {
            let error = RpcError { code: 0, message: "it cannot load sessions".to_owned() };
            return Err(CallError::Refused { method, error }.into());
        }
        let parameters = json!({"sessionId": id, "cwd": folder, "mcpServers": []});
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

    /// Has the session use the model, by the name the harness has for it, where it offers the choice.
    pub(super) async fn choose_model(
        &mut self,
        session: &OpenSession,
        model_name: &str,
    ) -> Result<(), HarnessError> {
        let Some(option) = session.model_option() else { return Ok(()) };
        if option.get("currentValue").and_then(Value::as_str) == Some(model_name) {
            return Ok(());
        }
        let parameters =
            json!({"sessionId": session.id, "configId": option.get("id"), "value": model_name});
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
        let options = self.model_option().and_then(|option| option.get("options")?.as_array());
        let value =
            |option: &Value| option.get("value").and_then(Value::as_str) == Some(model_name);
        options.into_iter().flatten().any(value)
    }

    fn model_option(&self) -> Option<&Value> {
        let is_model = |option: &&Value| {
            let says_model = |field| option.get(field).and_then(Value::as_str) == Some("model");
            says_model("category") || says_model("id")
        };
        self.options.as_array()?.iter().find(is_model)
    }
}

fn options_of(answer: &Value) -> Value {
    answer.get("configOptions").cloned().unwrap_or_default()
}
