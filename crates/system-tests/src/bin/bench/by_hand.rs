//! The peer of starts: bubblewrap and `opencode acp`, as a person would start them, until it has a session.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use anyhow::Context;
use serde_json::{Value, json};
use system_tests::House;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::milliseconds_since;

const ROOM: [&str; 22] = [
    "--unshare-all",
    "--die-with-parent",
    "--new-session",
    "--ro-bind",
    "/usr",
    "/usr",
    "--symlink",
    "usr/bin",
    "/bin",
    "--symlink",
    "usr/lib",
    "/lib",
    "--symlink",
    "usr/lib64",
    "/lib64",
    "--proc",
    "/proc",
    "--dev",
    "/dev",
    "--tmpfs",
    "/tmp",
    "--clearenv",
];

/// A home and a workspace in which opencode is started by hand, any number of times.
pub struct Place {
    harness: PathBuf,
    directory: TempDir,
}

/// A harness that runs. Ends when it is dropped.
struct Running {
    _process: Child,
    requests: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    asked: u32,
}

impl Place {
    pub fn new(house: &House) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        std::fs::create_dir_all(directory.path().join("home"))?;
        std::fs::create_dir_all(directory.path().join("workspace"))?;
        Ok(Self { harness: house.harness("opencode")?, directory })
    }

    /// Answers the milliseconds from the start of bubblewrap until the answer to `session/new`, and the session.
    pub async fn begin(&self) -> anyhow::Result<(f64, String)> {
        let begun = Instant::now();
        let mut running = self.start()?;
        running.initialize().await?;
        let new = json!({ "cwd": "/workspace", "mcpServers": [] });
        let opened = running.ask("session/new", new).await?;
        let session = opened["sessionId"].as_str().context("no session")?.to_owned();
        Ok((milliseconds_since(begun), session))
    }

    /// Answers the milliseconds from the start of bubblewrap until the answer to `session/load` for a session that began here.
    pub async fn load(&self, session: &str) -> anyhow::Result<f64> {
        let begun = Instant::now();
        let mut running = self.start()?;
        running.initialize().await?;
        let load = json!({ "sessionId": session, "cwd": "/workspace", "mcpServers": [] });
        running.ask("session/load", load).await?;
        Ok(milliseconds_since(begun))
    }

    fn start(&self) -> anyhow::Result<Running> {
        let place = self.directory.path();
        let (home, workspace) = (place.join("home"), place.join("workspace"));
        let mut process = Command::new("bwrap")
            .args(ROOM)
            .args(["--ro-bind".as_ref(), self.harness.as_os_str(), "/opt/harness".as_ref()])
            .args(["--bind".as_ref(), home.as_os_str(), "/home/agent".as_ref()])
            .args(["--bind".as_ref(), workspace.as_os_str(), "/workspace".as_ref()])
            .args(["--setenv", "HOME", "/home/agent", "--setenv", "PATH", "/usr/bin:/bin"])
            .args(["--setenv", "OPENCODE_DISABLE_AUTOUPDATE", "1"])
            .args(["--setenv", "OPENCODE_DISABLE_MODELS_FETCH", "1"])
            .args(["--setenv", "OPENCODE_CONFIG_CONTENT", &configuration().to_string()])
            .args(["--chdir", "/workspace", "/opt/harness/bin/opencode", "acp"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let requests = process.stdin.take().context("no stdin")?;
        let answers = BufReader::new(process.stdout.take().context("no stdout")?).lines();
        Ok(Running { _process: process, requests, answers, asked: 0 })
    }
}

impl Running {
    async fn initialize(&mut self) -> anyhow::Result<Value> {
        let capabilities = json!({ "fs": { "readTextFile": false, "writeTextFile": false } });
        let parameters = json!({ "protocolVersion": 1, "clientCapabilities": capabilities });
        self.ask("initialize", parameters).await
    }

    async fn ask(&mut self, method: &str, parameters: Value) -> anyhow::Result<Value> {
        self.asked += 1;
        let id = self.asked;
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": parameters });
        self.requests.write_all(format!("{request}\n").as_bytes()).await?;
        self.requests.flush().await?;
        loop {
            let line = self.answers.next_line().await?.context("opencode ended")?;
            let mut answer: Value = serde_json::from_str(&line)?;
            if answer["id"] == id && answer.get("method").is_none() {
                anyhow::ensure!(answer.get("error").is_none(), "{method}: {}", answer["error"]);
                return Ok(answer["result"].take());
            }
        }
    }
}

fn configuration() -> Value {
    let options = json!({ "baseURL": "http://127.0.0.1:4000/v1", "apiKey": "none" });
    json!({
        "model": "litellm/demo",
        "enabled_providers": ["litellm"],
        "autoupdate": false,
        "share": "disabled",
        "provider": { "litellm": {
            "npm": "@ai-sdk/openai-compatible",
            "options": options,
            "models": { "demo": { "name": "demo", "tool_call": true } },
        } },
    })
}
