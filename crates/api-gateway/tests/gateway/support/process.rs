//! A gateway as a process of its own, which can be told to end.

use std::path::Path;
use std::process::{ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::{ENCRYPTION_KEY, MASTER_KEY, fake_litellm};

pub struct GatewayProcess {
    child: Child,
    pub url: String,
}

impl GatewayProcess {
    /// Starts it, and waits until it serves.
    pub async fn start(database: &str, broker: &str) -> Self {
        Self::serving(&mut command(database, broker, ENCRYPTION_KEY)).await
    }

    /// The same after `ENCRYPTION_KEY` was changed.
    pub async fn rotated(database: &str, broker: &str, encryption_key: &str) -> Self {
        let mut command = command(database, broker, encryption_key);
        Self::serving(command.env("ENCRYPTION_KEY_PREVIOUS", ENCRYPTION_KEY)).await
    }

    async fn serving(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = loop {
            let line = lines.next_line().await.unwrap().expect("the gateway serves before it ends");
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["message"] == "serving the API" {
                break line["address"].as_str().unwrap().to_owned();
            }
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { child, url: format!("http://{address}") }
    }

    /// What it says before it ends by itself, which it does with a failure.
    pub async fn refused(database: &str, broker: &str, encryption_key: &str) -> String {
        let child = command(database, broker, encryption_key).spawn().unwrap();
        let ended = child.wait_with_output().await.unwrap();
        assert!(!ended.status.success());
        String::from_utf8(ended.stdout).unwrap()
    }

    pub fn terminate(&self) {
        let pid = i32::try_from(self.child.id().expect("it runs")).unwrap();
        kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    }

    pub async fn ended(&mut self) -> ExitStatus {
        self.child.wait().await.unwrap()
    }
}

fn command(database: &str, broker: &str, encryption_key: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_api-gateway"));
    command
        .env_clear()
        .env("DATABASE_URL", database)
        .env("AMQP_URL", broker)
        .env("LITELLM_GATEWAY_URL", fake_litellm::start())
        .env("MASTER_KEY", MASTER_KEY)
        .env("ENCRYPTION_KEY", encryption_key)
        .env("PORT", "0")
        .env("LAP__LOG__FORMAT", "json")
        .env(
            "LAP__SANDBOX__HARNESS_DIR",
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/harnesses"),
        )
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    command
}
