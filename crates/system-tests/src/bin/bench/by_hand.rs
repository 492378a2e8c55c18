//! The peer of a start: bubblewrap and `opencode acp`, as a person would start them, until it has a session.

use std::process::Stdio;
use std::time::Instant;

use anyhow::Context;
use serde_json::{Value, json};
use system_tests::House;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, Command};

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

/// Answers the milliseconds from the start of bubblewrap until the answer to `session/new`.
pub async fn start(house: &House) -> anyhow::Result<f64> {
    let place = tempfile::tempdir()?;
    let (home, workspace) = (place.path().join("home"), place.path().join("workspace"));
    std::fs::create_dir_all(&home)?;
    std::fs::create_dir_all(&workspace)?;
    let begun = Instant::now();
    let mut harness = Command::new("bwrap")
        .args(ROOM)
        .args([
            "--ro-bind".as_ref(),
            house.harness("opencode")?.as_os_str(),
            "/opt/harness".as_ref(),
        ])
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
    let mut requests = harness.stdin.take().context("no stdin")?;
    let mut answers = BufReader::new(harness.stdout.take().context("no stdout")?).lines();
    let capabilities = json!({ "fs": { "readTextFile": false, "writeTextFile": false } });
    let initialize = json!({ "protocolVersion": 1, "clientCapabilities": capabilities });
    let new = json!({ "cwd": "/workspace", "mcpServers": [] });
    for (id, method, parameters) in [(1, "initialize", initialize), (2, "session/new", new)] {
        ask(&mut requests, id, method, &parameters).await?;
        loop {
            let line = answers.next_line().await?.context("opencode ended")?;
            let answer: Value = serde_json::from_str(&line)?;
            if answer["id"] == id {
                break;
            }
        }
    }
    let milliseconds = begun.elapsed().as_secs_f64() * 1000.0;
    harness.kill().await?;
    Ok(milliseconds)
}

async fn ask(
    requests: &mut ChildStdin,
    id: u32,
    method: &str,
    parameters: &Value,
) -> anyhow::Result<()> {
    let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": parameters });
    requests.write_all(format!("{request}\n").as_bytes()).await?;
    Ok(requests.flush().await?)
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
