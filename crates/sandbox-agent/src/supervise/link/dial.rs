//! Finds a replica that takes the link: by its socket in a folder of all of them, or by an address behind which they are.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use rand::seq::SliceRandom;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as HandshakeError;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(1);

/// For one replica to take a connection and to answer the WebSocket's handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// What a link runs over.
pub(super) trait Carrier: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Carrier for T {}

pub(super) type Socket = WebSocketStream<Box<dyn Carrier>>;

/// Where the platform takes links.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(in crate::supervise) struct Platform {
    /// The folder of the sockets that take links, `<replica>.sock` each.
    #[arg(long)]
    links: Option<PathBuf>,
    /// The address that takes links: `ws://10.0.0.1:7070`.
    #[arg(long)]
    link: Option<Address>,
}

/// `ws://host:port`
#[derive(Debug, Clone, PartialEq, Eq)]
struct Address(String);

#[derive(Debug, thiserror::Error)]
#[error("the address of a link has the form ws://10.0.0.1:7070")]
struct InvalidAddress;

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let address = text.strip_prefix("ws://").ok_or(InvalidAddress)?;
        let address = address.strip_suffix('/').unwrap_or(address);
        let (host, port) = address.rsplit_once(':').ok_or(InvalidAddress)?;
        if host.is_empty() || host.contains('/') || port.parse::<u16>().is_err() {
            return Err(InvalidAddress);
        }
        Ok(Self(address.to_owned()))
    }
}

/// Growing pauses with jitter, so that the sandboxes of a restarted replica do not all come back in one moment.
pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST_DELAY)
    }
}

impl Backoff {
    pub(super) fn next(&mut self) -> Duration {
        let delay = self.0;
        self.0 = (delay * 2).min(LONGEST_DELAY);
        delay.mul_f64(rand::random_range(0.5..1.5))
    }
}

impl Platform {
    /// The first replica that takes the link.
    pub(super) async fn dial(&self) -> Option<Socket> {
        match self {
            Self { link: Some(Address(address)), .. } => {
                let dialled = async {
                    let stream = TcpStream::connect(address).await?;
                    stream.set_nodelay(true)?;
                    Ok(stream)
                };
                shake_hands(address, dialled).await
            }
            Self { links: Some(folder), .. } => dial_any(folder).await,
            Self { links: None, link: None } => None,
        }
    }
}

/// Tries every socket in the folder, in random order, and answers the first that takes the link.
async fn dial_any(folder: &Path) -> Option<Socket> {
    let mut sockets = match sockets(folder) {
        Ok(sockets) => sockets,
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "no links folder");
            return None;
        }
    };
    sockets.shuffle(&mut rand::rng());
    for path in sockets {
        let place = path.display().to_string();
        if let Some(socket) = shake_hands(&place, UnixStream::connect(&path)).await {
            return Some(socket);
        }
    }
    None
}

/// `place` is for the log, and for the handshake where it is an address.
async fn shake_hands<S: Carrier + 'static>(
    place: &str,
    dialled: impl Future<Output = io::Result<S>>,
) -> Option<Socket> {
    let host = if place.starts_with('/') { "link" } else { place };
    let handshake = async {
        let stream: Box<dyn Carrier> = Box::new(dialled.await?);
        let url = format!("ws://{host}/");
        let settings = Some(small_buffers());
        let (socket, _) =
            tokio_tungstenite::client_async_with_config(url, stream, settings).await?;
        Ok(socket)
    };
    match timeout(HANDSHAKE, Box::pin(handshake)).await {
        Ok(Ok(socket)) => Some(socket),
        Ok(Err(HandshakeError::Io(error))) if error.kind() == ErrorKind::ConnectionRefused => {
            // A replica that was killed leaves its socket behind; one that is restarted is away for a moment.
            tracing::debug!(place, "nobody takes links there");
            None
        }
        Ok(Err(error)) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, place, "the link was not taken");
            None
        }
        Err(_) => {
            tracing::warn!(place, "no answer to the link");
            None
        }
    }
}

fn sockets(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)?;
    let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    Ok(paths.filter(|path| path.extension().is_some_and(|end| end == "sock")).collect())
}

/// The defaults are for servers: 128 KiB a direction, kept for as long as the link lasts.
fn small_buffers() -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(16 * 1024).write_buffer_size(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_a_fifth_of_a_second_to_a_second() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..8).map(|_| backoff.next().as_secs_f64()).collect();
        assert!((0.1..0.3).contains(&pauses[0]), "{pauses:?}");
        assert!((0.5..1.5).contains(&pauses[7]), "{pauses:?}");
    }

    #[test]
    fn an_address_names_a_host_and_a_port() {
        for right in ["ws://10.0.0.1:7070", "ws://10.0.0.1:7070/", "ws://[fd00::1]:7070"] {
            assert!(right.parse::<Address>().is_ok(), "{right}");
        }
        for wrong in ["", "10.0.0.1:7070", "wss://10.0.0.1:7070", "ws://10.0.0.1", "ws://a/b:1"] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_socket_that_a_dead_replica_left_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        drop(tokio::net::UnixListener::bind(folder.path().join("dead.sock")).unwrap());
        assert!(dial_any(folder.path()).await.is_none());

        let living = tokio::net::UnixListener::bind(folder.path().join("living.sock")).unwrap();
        let serve = async {
            let (stream, _) = living.accept().await.unwrap();
            tokio_tungstenite::accept_async(stream).await.unwrap()
        };
        let (_server, dialled) = tokio::join!(serve, dial_any(folder.path()));
        assert!(dialled.is_some());
    }
}
