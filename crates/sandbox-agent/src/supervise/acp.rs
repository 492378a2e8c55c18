//! The Agent Client Protocol, version 1: newline-delimited JSON-RPC over the standard streams of a process in the other room.

mod update;

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::room::{Ended, Output, Process, RoomError};

pub(super) use update::{Chunk, ToolCall, ToolCallStatus, Update};

/// One message may carry a large file in a tool call; a longer one is a harness gone wrong.
const LONGEST_MESSAGE: usize = 16 * 1024 * 1024;

/// How much of the harness's standard error is kept for the reason of its end.
const LAST_LINES: usize = 20;
const LONGEST_LINE: usize = 400;

/// JSON-RPC's code for a method that is not there.
const METHOD_NOT_FOUND: i32 = -32601;

pub(super) struct Connection {
    process: Process,
    /// The message that is still arriving.
    partial: Vec<u8>,
    arrived: VecDeque<Message>,
    last_request: u64,
    last_lines: VecDeque<String>,
}

/// What the harness says.
#[derive(Debug)]
pub(super) enum Message {
    Update(Box<Update>),
    /// It wants something. `id` goes back with the answer.
    Request {
        id: Value,
        method: String,
        params: Value,
    },
    Response {
        id: u64,
        outcome: Result<Value, RpcError>,
    },
    /// It has ended; nothing comes after this.
    Ended(Ended),
    /// It sent something that is no message of the protocol and cannot be skipped.
    Broken,
}

/// What the harness answered in place of a result, in its own words.
#[derive(Debug, Clone, PartialEq, Deserialize, thiserror::Error)]
#[error("{message}")]
pub(super) struct RpcError {
    #[serde(default)]
    pub(super) code: i64,
    #[serde(default)]
    pub(super) message: String,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("the harness refused {method}: {error}")]
    Refused { method: &'static str, error: RpcError },
    #[error("the harness did not answer {method} within {} s", within.as_secs())]
    TimedOut { method: &'static str, within: Duration },
    #[error("the harness ended ({ended}){last_lines}")]
    Ended { ended: Ended, last_lines: LastLines },
    #[error("the harness does not speak the protocol")]
    Broken,
    #[error(transparent)]
    Room(#[from] RoomError),
}

/// The end of the harness's standard error, as the tail of a sentence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LastLines(String);

impl fmt::Display for LastLines {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(formatter, ": {}", self.0) }
    }
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    id: Option<Value>,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    params: Value,
    #[serde(default)]
    result: Value,
    #[serde(default)]
    error: Option<RpcError>,
}

#[derive(Deserialize)]
struct UpdateParameters {
    update: Update,
}

impl Connection {
    pub(super) fn new(process: Process) -> Self {
        Self {
            process,
            partial: Vec::new(),
            arrived: VecDeque::new(),
            last_request: 0,
            last_lines: VecDeque::new(),
        }
    }

    /// The next message. May be dropped at any await point without losing anything.
    pub(super) async fn next(&mut self) -> Message {
        loop {
            if let Some(message) = self.arrived.pop_front() {
                return message;
            }
            match self.process.next().await {
                Output::Standard(data) => self.take(&data),
                Output::Error(data) => self.keep_lines(&data),
                Output::Ended(ended) => return Message::Ended(ended),
            }
        }
    }

    /// Sends a request and answers its id, under which the response will come.
    pub(super) async fn request(&mut self, method: &str, params: Value) -> Result<u64, RoomError> {
        self.last_request += 1;
        let id = self.last_request;
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.send(&request).await?;
        Ok(id)
    }

    pub(super) async fn notify(&self, method: &str, params: Value) -> Result<(), RoomError> {
        self.send(&json!({"jsonrpc": "2.0", "method": method, "params": params})).await
    }

    pub(super) async fn answer(&self, id: &Value, result: &Value) -> Result<(), RoomError> {
        self.send(&json!({"jsonrpc": "2.0", "id": id, "result": result})).await
    }

    /// Refuses what is not offered. Above all files: a harness may ask for those of *this* side, whatever it was told it can do.
    pub(super) async fn refuse(&self, id: &Value, method: &str) -> Result<(), RoomError> {
        let error =
            json!({"code": METHOD_NOT_FOUND, "message": format!("{method} is not offered")});
        self.send(&json!({"jsonrpc": "2.0", "id": id, "error": error})).await
    }

    /// Sends a request and waits for its response. Updates that come before it go to `on_update`.
    pub(super) async fn call(
        &mut self,
        method: &'static str,
        params: Value,
        within: Duration,
        mut on_update: impl FnMut(Update),
    ) -> Result<Value, CallError> {
        let call = async {
            let request = self.request(method, params).await?;
            loop {
                match self.next().await {
                    Message::Response { id, outcome } if id == request => {
                        return outcome.map_err(|error| CallError::Refused { method, error });
                    }
                    Message::Response { .. } => {}
                    Message::Update(update) => on_update(*update),
                    Message::Request { id, method, .. } => self.refuse(&id, &method).await?,
                    Message::Ended(ended) => {
                        return Err(CallError::Ended { ended, last_lines: self.last_lines() });
                    }
                    Message::Broken => return Err(CallError::Broken),
                }
            }
        };
        timeout(within, call).await.unwrap_or(Err(CallError::TimedOut { method, within }))
    }

    /// The end of what the harness wrote to its standard error.
    pub(super) fn last_lines(&self) -> LastLines {
        let lines: Vec<&str> = self.last_lines.iter().map(String::as_str).collect();
        LastLines(lines.join(" | "))
    }

    async fn send(&self, message: &Value) -> Result<(), RoomError> {
        let mut line = message.to_string().into_bytes();
        line.push(b'\n');
        self.process.write(&line).await
    }

    fn take(&mut self, data: &[u8]) {
        let mut rest = data;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end);
            self.partial.extend_from_slice(line);
            let line = std::mem::take(&mut self.partial);
            self.arrived.extend(read_message(&line));
            rest = after.get(1..).unwrap_or_default();
        }
        self.partial.extend_from_slice(rest);
        if self.partial.len() > LONGEST_MESSAGE {
            self.partial = Vec::new();
            self.arrived.push_back(Message::Broken);
        }
    }

    fn keep_lines(&mut self, data: &[u8]) {
        for line in String::from_utf8_lossy(data).lines().filter(|line| !line.trim().is_empty()) {
            tracing::debug!(line, "harness");
            if self.last_lines.len() == LAST_LINES {
                self.last_lines.pop_front();
            }
            self.last_lines.push_back(line.chars().take(LONGEST_LINE).collect());
        }
    }
}

/// What a line says, if it is a message for us. Harnesses print other things as well, and newer ones send what is not known here:
/// neither is a reason to stop.
fn read_message(line: &[u8]) -> Option<Message> {
    let Ok(wire) = serde_json::from_slice::<Wire>(line) else {
        if !line.trim_ascii().is_empty() {
            tracing::debug!(line = %String::from_utf8_lossy(line), "no message");
        }
        return None;
    };
    match (wire.method, wire.id) {
        (Some(method), Some(id)) => Some(Message::Request { id, method, params: wire.params }),
        (Some(method), None) if method == "session/update" => {
            match serde_json::from_value::<UpdateParameters>(wire.params) {
                Ok(parameters) => Some(Message::Update(Box::new(parameters.update))),
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "unknown update");
                    None
                }
            }
        }
        (Some(_) | None, None) => None,
        (None, Some(id)) => {
            let outcome = wire.error.map_or(Ok(wire.result), Err);
            id.as_u64().map(|id| Message::Response { id, outcome })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_carries_its_result_or_the_harness_s_own_words() {
        let read = |line: &str| read_message(line.as_bytes());
        let Some(Message::Response { id: 3, outcome: Ok(result) }) =
            read(r#"{"jsonrpc":"2.0","id":3,"result":{"stopReason":"end_turn"}}"#)
        else {
            panic!("no response");
        };
        assert_eq!(result, json!({"stopReason": "end_turn"}));
        let Some(Message::Response { outcome: Err(error), .. }) =
            read(r#"{"id":4,"error":{"code":-32603,"message":"bad run key","data":{"x":1}}}"#)
        else {
            panic!("no error");
        };
        assert_eq!(error, RpcError { code: -32603, message: "bad run key".to_owned() });
    }

    #[test]
    fn what_is_no_message_for_us_is_passed_over() {
        for line in [
            "",
            "starting up …",
            "[1, 2]",
            r#"{"method":"_auth/status_update","params":{}}"#,
            r#"{"method":"session/update","params":{"update":{"sessionUpdate":"tool_call"}}}"#,
            r#"{"id":"not ours","result":{}}"#,
        ] {
            assert!(read_message(line.as_bytes()).is_none(), "{line}");
        }
    }
}
