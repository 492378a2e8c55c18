//! Where the connections of one door come from.

use std::io;

use tokio::net::{TcpStream, UnixListener};
use tokio::sync::mpsc;

use super::Stream;

/// The connections of one sandbox, as they come.
#[derive(Debug)]
pub enum Arrivals {
    /// At a socket that only this sandbox can reach.
    Socket(UnixListener),
    /// From the gate, which has seen this sandbox's ticket.
    Ticketed(mpsc::Receiver<TcpStream>),
}

impl Arrivals {
    /// The next one; `None` when there will be none. Nothing is lost when this is dropped while it waits.
    pub(super) async fn next(&mut self) -> io::Result<Option<Stream>> {
        match self {
            Self::Socket(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok(Some(stream.into()))
            }
            Self::Ticketed(streams) => Ok(streams.recv().await.map(Stream::from)),
        }
    }
}

impl From<UnixListener> for Arrivals {
    fn from(listener: UnixListener) -> Self {
        Self::Socket(listener)
    }
}

impl From<mpsc::Receiver<TcpStream>> for Arrivals {
    fn from(streams: mpsc::Receiver<TcpStream>) -> Self {
        Self::Ticketed(streams)
    }
}
