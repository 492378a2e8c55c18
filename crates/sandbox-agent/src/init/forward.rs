//! Carries TCP connections of the room to the way out, which is a unix socket because the room has no network.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Semaphore;

use super::InitError;

/// While vault-proxy is being restarted its socket is gone for a moment; an agent's call waits instead of failing.
const PATIENCE: Duration = Duration::from_secs(5);
pub(super) const RETRY: Duration = Duration::from_millis(50);
/// Large files go through here, and a connection that idles holds two of these.
const CHUNK: usize = 32 * 1024;
/// Through one forward at the same time.
const MOST_CONNECTIONS: usize = 512;

/// One listening address and the unix socket behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Forward {
    address: SocketAddr,
    socket: PathBuf,
}

#[derive(Debug, thiserror::Error)]
#[error("a forward has the form 127.0.0.1:4000=/path/to/socket")]
pub(crate) struct InvalidForward;

impl FromStr for Forward {
    type Err = InvalidForward;

    fn from_str(text: &str) -> Result<Self, InvalidForward> {
        let (address, socket) = text.split_once('=').ok_or(InvalidForward)?;
        if socket.is_empty() {
            return Err(InvalidForward);
        }
        let address = address.parse().map_err(|_| InvalidForward)?;
        Ok(Self { address, socket: socket.into() })
    }
}

impl Forward {
    /// Listens from now on; connections are carried until the room ends.
    pub(super) async fn listen(self) -> Result<(), InitError> {
        let listener = TcpListener::bind(self.address)
            .await
            .map_err(|source| InitError::Listen { address: self.address.to_string(), source })?;
        let socket: Arc<PathBuf> = Arc::new(self.socket);
        serve(listener, MOST_CONNECTIONS, move |connection| carry(connection, Arc::clone(&socket)));
        Ok(())
    }
}

/// Serves each connection, and so many at the same time; further ones wait to be taken.
pub(super) fn serve_each<F>(
    listener: std::net::TcpListener,
    most: usize,
    serve_one: impl Fn(TcpStream) -> F + Send + 'static,
) -> io::Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    listener.set_nonblocking(true)?;
    serve(TcpListener::from_std(listener)?, most, serve_one);
    Ok(())
}

fn serve<F>(listener: TcpListener, most: usize, serve_one: impl Fn(TcpStream) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(most));
    tokio::spawn(async move {
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            match listener.accept().await {
                Ok((connection, _)) => {
                    let served = serve_one(connection);
                    tokio::spawn(async move {
                        served.await;
                        drop(place);
                    });
                }
                // Out of descriptors: the connections under way give theirs back.
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "accept failed");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    });
}

async fn carry(mut inside: TcpStream, socket: Arc<PathBuf>) {
    let carried = async {
        // Each token is a small write of its own.
        inside.set_nodelay(true)?;
        let mut outside = connect(&socket).await?;
        copy_both_ways(&mut inside, &mut outside).await
    };
    if let Err(error) = carried.await {
        tracing::debug!(error = &error as &dyn std::error::Error, "a forwarded connection broke");
    }
}

/// Until both sides have said all.
pub(super) async fn copy_both_ways(
    inside: &mut TcpStream,
    outside: &mut UnixStream,
) -> io::Result<()> {
    tokio::io::copy_bidirectional_with_sizes(inside, outside, CHUNK, CHUNK).await.map(drop)
}

/// Connects to the way out, and waits for it while it is being restarted.
pub(super) async fn connect(socket: &Path) -> io::Result<UnixStream> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match UnixStream::connect(socket).await {
            Ok(stream) => return Ok(stream),
            Err(error) if tokio::time::Instant::now() >= deadline => return Err(error),
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    use super::*;

    #[test]
    fn a_forward_names_an_address_and_a_socket() {
        let forward: Forward = "127.0.0.1:4000=/run/egress/proxy.sock".parse().unwrap();
        assert_eq!(forward.address, "127.0.0.1:4000".parse().unwrap());
        assert_eq!(forward.socket, PathBuf::from("/run/egress/proxy.sock"));
        for wrong in ["", "127.0.0.1:4000", "127.0.0.1:4000=", "host=/run/x"] {
            assert!(wrong.parse::<Forward>().is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_side_that_has_said_all_still_hears_the_answer() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("proxy.sock");
        let outside = UnixListener::bind(&socket).unwrap();
        let near = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(near.local_addr().unwrap()).await.unwrap();
        let (inside, _) = near.accept().await.unwrap();
        tokio::spawn(carry(inside, Arc::new(socket)));

        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let (mut served, _) = outside.accept().await.unwrap();
        let mut question = Vec::new();
        served.read_to_end(&mut question).await.unwrap();
        served.write_all(b"answer").await.unwrap();
        drop(served);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!((question.as_slice(), answer.as_slice()), (&b"question"[..], &b"answer"[..]));
    }
}
