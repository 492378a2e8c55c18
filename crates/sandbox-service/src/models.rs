//! Which models the gateway serves, asked through a sandbox's own way out: this service holds no key of the gateway.

use std::error::Error;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Mutex;

use crate::tickets::Ticket;

const FRESH_FOR: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(3);
const LARGEST_ANSWER_BYTES: usize = 4 << 20;

/// What a connection to vault-proxy that shows a ticket begins with.
const PREAMBLE: &[u8; 4] = b"LAP1";

/// A sandbox's way out, as this service takes it.
pub enum Door {
    Socket(PathBuf),
    Address { address: SocketAddr, ticket: Ticket },
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The names of the models, remembered for a while.
#[derive(Debug, Default)]
pub struct Models {
    remembered: Mutex<Option<Remembered>>,
}

#[derive(Debug)]
struct Remembered {
    names: Vec<String>,
    at: Instant,
}

#[derive(Debug, thiserror::Error)]
pub enum ListModelsError {
    #[error("the way out cannot be reached")]
    Connect(#[source] io::Error),
    #[error("the request failed")]
    Request(#[source] Box<dyn Error + Send + Sync>),
    #[error("the gateway answered {0}")]
    Refused(http::StatusCode),
    #[error("the answer is no list of models")]
    Answer(#[from] serde_json::Error),
    #[error("no answer within {} s", PATIENCE.as_secs())]
    TimedOut,
}

#[derive(Deserialize)]
struct ModelList {
    data: Vec<ListedModel>,
}

#[derive(Deserialize)]
struct ListedModel {
    id: String,
}

impl Models {
    /// The models that the gateway serves now. When it cannot be asked, what it served last; at worst nothing.
    pub async fn list(&self, door: &Door) -> Vec<String> {
        let mut remembered = self.remembered.lock().await;
        if let Some(fresh) = remembered.as_ref().filter(|list| list.at.elapsed() < FRESH_FOR) {
            return fresh.names.clone();
        }
        let asked = tokio::time::timeout(PATIENCE, ask(door)).await;
        match asked.unwrap_or(Err(ListModelsError::TimedOut)) {
            Ok(names) => {
                *remembered = Some(Remembered { names: names.clone(), at: Instant::now() });
                names
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn Error,
                    "the gateway's models cannot be listed"
                );
                remembered.as_ref().map(|list| list.names.clone()).unwrap_or_default()
            }
        }
    }
}

async fn ask(door: &Door) -> Result<Vec<String>, ListModelsError> {
    let stream = connect(door).await.map_err(ListModelsError::Connect)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| ListModelsError::Request(error.into()))?;
    let request = http::Request::get("/v1/models")
        .header(http::header::HOST, "gateway")
        .body(Empty::<Bytes>::new())
        .map_err(|error| ListModelsError::Request(error.into()))?;
    let exchange = async {
        let answer = sender
            .send_request(request)
            .await
            .map_err(|error| ListModelsError::Request(error.into()))?;
        if !answer.status().is_success() {
            return Err(ListModelsError::Refused(answer.status()));
        }
        let body = Limited::new(answer.into_body(), LARGEST_ANSWER_BYTES);
        let bytes = body.collect().await.map_err(ListModelsError::Request)?.to_bytes();
        let list: ModelList = serde_json::from_slice(&bytes)?;
        Ok(list.data.into_iter().map(|model| model.id).collect())
    };
    // The connection has to be driven while the exchange goes on, and ends with it.
    tokio::pin!(exchange, connection);
    tokio::select! {
        outcome = &mut exchange => outcome,
        ended = &mut connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(ListModelsError::Request(error.into())),
        },
    }
}

async fn connect(door: &Door) -> io::Result<Box<dyn Duplex>> {
    match door {
        Door::Socket(path) => Ok(Box::new(connect_to_socket(path).await?)),
        Door::Address { address, ticket } => {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(PREAMBLE).await?;
            stream.write_all(ticket).await?;
            Ok(Box::new(stream))
        }
    }
}

/// Connects through the folder's descriptor: the address of a unix socket holds only 107 bytes.
async fn connect_to_socket(socket: &Path) -> io::Result<UnixStream> {
    let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the socket's path has no folder"));
    };
    let folder = File::open(folder)?;
    UnixStream::connect(Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name))
        .await
}
