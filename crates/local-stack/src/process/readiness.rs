//! How a process shows that it can be used.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

use crate::failure::StackError;

/// Longer than any answer of a process on this machine that is ready.
const ANSWER: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub(crate) enum Readiness {
    /// Answers this URL with success.
    Http(String),
    /// Speaks AMQP on this port: RabbitMQ opens it last.
    Amqp(u16),
    /// Accepts connections on this port.
    Tcp(u16),
    /// This command ends with success.
    Command { program: PathBuf, arguments: Vec<String> },
}

/// Asks processes whether they are ready.
#[derive(Debug, Clone)]
pub(crate) struct Prober {
    client: reqwest::Client,
}

impl Prober {
    pub(crate) fn new() -> Result<Self, StackError> {
        let client = reqwest::Client::builder().timeout(ANSWER).no_proxy().build();
        Ok(Self { client: client.map_err(StackError::Client)? })
    }

    pub(crate) async fn is_ready(&self, readiness: &Readiness) -> bool {
        match readiness {
            Readiness::Http(url) => {
                self.client.get(url).send().await.is_ok_and(|answer| answer.status().is_success())
            }
            Readiness::Amqp(port) => {
                timeout(ANSWER, greets(*port)).await.is_ok_and(|greeted| greeted.is_ok())
            }
            Readiness::Tcp(port) => TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).await.is_ok(),
            Readiness::Command { program, arguments } => {
                let mut command = Command::new(program);
                command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
                let status = command.stderr(Stdio::null()).env_clear().status().await;
                status.is_ok_and(|status| status.success())
            }
        }
    }
}

/// AMQP 0-9-1: to the protocol header a broker answers with a method frame (type 1), `Connection.Start`.
async fn greets(port: u16) -> std::io::Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
    match stream.read_u8().await? {
        1 => Ok(()),
        _ => Err(std::io::ErrorKind::InvalidData.into()),
    }
}
