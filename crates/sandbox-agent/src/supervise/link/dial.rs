//! Finds a replica that takes the link: each has a socket of its own in one folder.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::seq::SliceRandom;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(1);

/// For one replica to answer the WebSocket's handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);

pub(super) type Socket = WebSocketStream<UnixStream>;

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

/// Tries every socket in the folder, in random order, and answers the first that takes the link.
pub(super) async fn dial(folder: &Path) -> Option<Socket> {
    let mut sockets = match sockets(folder) {
        Ok(sockets) => sockets,
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "no links folder");
            return None;
        }
    };
    sockets.shuffle(&mut rand::rng());
    for path in sockets {
        let stream = match UnixStream::connect(&path).await {
            Ok(stream) => stream,
            // A replica that was killed leaves its socket behind.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => continue,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, path = %path.display(), "the link cannot be dialled");
                continue;
            }
        };
        let handshake = tokio_tungstenite::client_async_with_config(
            "ws://link/",
            stream,
            Some(small_buffers()),
        );
        match timeout(HANDSHAKE, handshake).await {
            Ok(Ok((socket, _))) => return Some(socket),
            Ok(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, path = %path.display(), "the link was not taken");
            }
            Err(_) => tracing::warn!(path = %path.display(), "no answer to the link"),
        }
    }
    None
}

fn sockets(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
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

    #[tokio::test]
    async fn a_socket_that_a_dead_replica_left_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        drop(tokio::net::UnixListener::bind(folder.path().join("dead.sock")).unwrap());
        assert!(dial(folder.path()).await.is_none());

        let living = tokio::net::UnixListener::bind(folder.path().join("living.sock")).unwrap();
        let serve = async {
            let (stream, _) = living.accept().await.unwrap();
            tokio_tungstenite::accept_async(stream).await.unwrap()
        };
        let (_server, dialled) = tokio::join!(serve, dial(folder.path()));
        assert!(dialled.is_some());
    }
}
