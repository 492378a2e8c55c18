//! The server's side of the Model Context Protocol: JSON-RPC, one message a line. Whoever speaks to it lives in the room and is not
//! believed: sizes and numbers are bounded, and only tools that are offered can be called.

use std::collections::HashMap;
use std::time::Duration;

use platform_core::session::ContentBlock;
use platform_messaging::proto::link::ToolsStream;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, interval_at};

use super::{CustomCall, CustomResult};
use crate::supervise::room::Room;
use crate::supervise::session::as_block;

const LONGEST_MESSAGE: usize = 4 * 1024 * 1024;
const MOST_CONNECTIONS: usize = 32;
const MOST_CALLS: usize = 64;

/// Harnesses limit how long a call may take, but count from the last sign of progress.
const PROGRESS: Duration = Duration::from_secs(10);

const METHOD_NOT_FOUND: i32 = -32601;
const INVALID_PARAMS: i32 = -32602;

/// The newest version that this serves; an older one that is asked for is served as well, for nothing differs in what is used here.
const NEWEST_VERSION: &str = "2025-06-18";

pub(super) struct Server {
    room: Room,
    offered: watch::Receiver<Vec<Value>>,
    calls: mpsc::Sender<CustomCall>,
    connections: HashMap<u32, Connection>,
    waiting: JoinSet<()>,
}

#[derive(Default)]
struct Connection {
    /// The message that is still arriving.
    partial: Vec<u8>,
    /// Calls under way, by the JSON of their request's id.
    calls: HashMap<String, AbortHandle>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    id: Option<Value>,
    #[serde(default)]
    method: String,
    #[serde(default)]
    params: Value,
}

#[derive(Deserialize)]
struct CallParameters {
    name: String,
    #[serde(default)]
    arguments: Map<String, Value>,
}

impl Server {
    pub(super) fn new(
        room: Room,
        offered: watch::Receiver<Vec<Value>>,
        calls: mpsc::Sender<CustomCall>,
    ) -> Self {
        let (connections, waiting) = (HashMap::new(), JoinSet::new());
        Self { room, offered, calls, connections, waiting }
    }

    /// Serves until the room ends. Cancelling it gives up every call.
    pub(super) async fn run(mut self) {
        let Some(mut streams) = self.room.take_tools_streams() else { return };
        loop {
            tokio::select! {
                stream = streams.recv() => match stream {
                    Some(stream) => self.take(stream).await,
                    None => return,
                },
                Some(_) = self.waiting.join_next() => {
                    for connection in self.connections.values_mut() {
                        connection.calls.retain(|_, call| !call.is_finished());
                    }
                }
            }
        }
    }

    async fn take(&mut self, stream: ToolsStream) {
        let number = stream.connection;
        if stream.ended {
            self.end(number);
            return;
        }
        if !self.connections.contains_key(&number) && self.connections.len() >= MOST_CONNECTIONS {
            self.hang_up(number).await;
            return;
        }
        let connection = self.connections.entry(number).or_default();
        connection.partial.extend_from_slice(&stream.data);
        let mut lines: Vec<Vec<u8>> =
            connection.partial.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        connection.partial = lines.pop().unwrap_or_default();
        if connection.partial.len() > LONGEST_MESSAGE {
            self.end(number);
            self.hang_up(number).await;
            return;
        }
        for message in lines.iter().filter_map(|line| serde_json::from_slice(line).ok()) {
            self.answer(number, message).await;
        }
    }

    async fn answer(&mut self, connection: u32, message: Message) {
        let Message { id, method, params } = message;
        let Some(id) = id else {
            if method == "notifications/cancelled" {
                let request = params.get("requestId").cloned().unwrap_or_default();
                self.cancel(connection, &request);
            }
            return;
        };
        let outcome = match method.as_str() {
            "initialize" => Ok(greeting(&params)),
            "ping" => Ok(json!({})),
            "tools/list" => Ok(json!({"tools": *self.offered.borrow()})),
            "tools/call" => match self.call(connection, &id, params) {
                Ok(()) => return,
                Err(error) => Err(error),
            },
            // Also an answer to something that was never asked.
            _ => Err((METHOD_NOT_FOUND, format!("{method} is not offered"))),
        };
        let answer = match outcome {
            Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
            Err((code, message)) => {
                json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
            }
        };
        send(&self.room, connection, &answer).await;
    }

    /// Hands a call on. Its answer comes later, from a task of its own.
    fn call(&mut self, connection: u32, id: &Value, params: Value) -> Result<(), (i32, String)> {
        let token = params.pointer("/_meta/progressToken").cloned();
        let CallParameters { name, arguments: input } =
            serde_json::from_value(params).map_err(|error| (INVALID_PARAMS, error.to_string()))?;
        let is_it = |tool: &Value| tool.get("name").and_then(Value::as_str) == Some(&name);
        if !self.offered.borrow().iter().any(is_it) {
            return Err((INVALID_PARAMS, format!("there is no tool {name:?}")));
        }
        let too_many = || (INVALID_PARAMS, "too many calls are under way".to_owned());
        if self.waiting.len() >= MOST_CALLS {
            return Err(too_many());
        }
        let (answer, result) = oneshot::channel();
        self.calls.try_send(CustomCall { name, input, answer }).map_err(|_| too_many())?;
        let wait = wait(self.room.clone(), connection, id.clone(), token, result);
        let waiting = self.waiting.spawn(wait);
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.calls.insert(id.to_string(), waiting);
        }
        Ok(())
    }

    fn cancel(&mut self, connection: u32, request: &Value) {
        let connection = self.connections.get_mut(&connection);
        let call = connection.and_then(|connection| connection.calls.remove(&request.to_string()));
        if let Some(call) = call {
            call.abort();
        }
    }

    fn end(&mut self, connection: u32) {
        for (_, call) in self.connections.remove(&connection).into_iter().flat_map(|c| c.calls) {
            call.abort();
        }
    }

    async fn hang_up(&self, connection: u32) {
        self.room.tools_input(ToolsStream { connection, data: Vec::new(), ended: true }).await.ok();
    }
}

/// Waits for the result of one call, and shows signs of progress until it is there.
async fn wait(
    room: Room,
    connection: u32,
    id: Value,
    token: Option<Value>,
    mut result: oneshot::Receiver<CustomResult>,
) {
    let mut ticks = interval_at(Instant::now() + PROGRESS, PROGRESS);
    let mut progress = 0;
    let result = loop {
        tokio::select! {
            result = &mut result => break result,
            _ = ticks.tick() => {
                progress += 1;
                if let Some(token) = &token {
                    let params = json!({"progressToken": token, "progress": progress});
                    let method = "notifications/progress";
                    let message = json!({"jsonrpc": "2.0", "method": method, "params": params});
                    send(&room, connection, &message).await;
                }
            }
        }
    };
    let result = result.unwrap_or_else(|_| CustomResult {
        content: vec![ContentBlock::text("the call was given up")],
        is_error: true,
    });
    // What a prompt may hold and what a result may hold have the same form in both protocols.
    let content: Vec<Value> = result.content.iter().map(|block| as_block(block, true)).collect();
    let result = json!({"content": content, "isError": result.is_error});
    send(&room, connection, &json!({"jsonrpc": "2.0", "id": id, "result": result})).await;
}

async fn send(room: &Room, connection: u32, message: &Value) {
    let mut data = message.to_string().into_bytes();
    data.push(b'\n');
    for chunk in data.chunks(crate::frame::CHUNK) {
        let stream = ToolsStream { connection, data: chunk.to_vec(), ended: false };
        // At the room's end nobody reads any more.
        room.tools_input(stream).await.ok();
    }
}

fn greeting(params: &Value) -> Value {
    let version = params.get("protocolVersion").and_then(Value::as_str).unwrap_or(NEWEST_VERSION);
    json!({
        "protocolVersion": version,
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "client tools", "version": env!("CARGO_PKG_VERSION")},
    })
}
