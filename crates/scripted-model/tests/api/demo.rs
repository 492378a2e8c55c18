//! A scripted model listening on a port of its own, and what a client does with it.

use std::{path::PathBuf, time::Duration};

use actix_web::dev::ServerHandle;
use reqwest::{Client, Response};
use scripted_model::{
    request_log::RequestLog,
    server::{ScriptedModel, listen},
};
use serde_json::{Value, json};
use tempfile::TempDir;

pub struct Demo {
    address: String,
    client: Client,
    handle: ServerHandle,
    directory: TempDir,
}

/// One server-sent event: its `event:` line if it has one, and its data.
pub type Event = (Option<String>, Value);

impl Demo {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let log = RequestLog::open(&directory.path().join("requests.jsonl")).expect("a log");
        let any_port = "127.0.0.1:0".parse().expect("an address");
        let (server, address) =
            listen(any_port, ScriptedModel::new(Some(log))).expect("a free port");
        let handle = server.handle();
        tokio::spawn(server);
        let client = Client::builder()
            .timeout(Duration::from_secs(20))
            .pool_max_idle_per_host(0)
            .build()
            .expect("a client");
        Self { address: format!("http://{address}"), client, handle, directory }
    }

    pub async fn stop(self) {
        self.handle.stop(false).await;
    }

    pub fn host(&self) -> &str {
        self.address.trim_start_matches("http://")
    }

    pub async fn send(&self, path: &str, body: &Value) -> Response {
        let request = self.client.post(format!("{}{path}", self.address)).json(body);
        request.send().await.expect("an answer")
    }

    pub async fn get(&self, path: &str) -> Value {
        let request = self.client.get(format!("{}{path}", self.address));
        request.send().await.expect("an answer").json().await.expect("JSON")
    }

    pub async fn whole(&self, path: &str, body: &Value) -> Value {
        let response = self.send(path, body).await;
        assert_eq!(response.status(), 200);
        response.json().await.expect("JSON")
    }

    /// Sends the request as a streamed one and reads the stream to its end, `[DONE]` included.
    pub async fn streamed(&self, path: &str, body: &Value) -> Vec<Event> {
        let mut body = body.clone();
        body["stream"] = json!(true);
        let response = self.send(path, &body).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        response.text().await.expect("a whole stream").split_terminator("\n\n").map(event).collect()
    }

    pub fn logged(&self) -> Vec<Value> {
        let path: PathBuf = self.directory.path().join("requests.jsonl");
        let text = std::fs::read_to_string(path).expect("the log");
        text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
    }
}

fn event(block: &str) -> Event {
    let mut name = None;
    let mut data = Value::Null;
    for line in block.lines() {
        match line.split_once(": ") {
            Some(("event", kind)) => name = Some(kind.to_owned()),
            Some(("data", "[DONE]")) => data = json!("[DONE]"),
            Some(("data", json)) => data = serde_json::from_str(json).expect("JSON data"),
            _ => panic!("no line of a stream: {line}"),
        }
    }
    (name, data)
}
