//! Carries bytes both ways, untouched.

mod splice;

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::counted::{Count, CountedStream};
use super::rewound::Rewound;
use crate::door::Stream;

const BUFFER_BYTES: usize = 64 << 10;
/// A tunnel in which nothing moves for so long is ended. Programs that wait for longer send signs of life.
const IDLE: Duration = Duration::from_hours(1);
const GLANCE_PERIOD: Duration = Duration::from_mins(1);

/// As [`carry`], for sockets.
pub async fn carry_sockets(
    sandbox: Rewound<Stream>,
    mut host: TcpStream,
    sent: Count,
    received: Count,
) -> io::Result<()> {
    let (ahead, sandbox) = sandbox.into_parts();
    host.write_all(&ahead).await?;
    sent.add(ahead.len());
    drop(ahead);
    let host = Stream::from(host);
    tokio::select! {
        carried = splice::carry(&sandbox, &host, &sent, &received) => carried,
        () = standstill(&sent, &received) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Carries until both sides have ended, one of them breaks off, or nothing moves any more. A side that ends only its own half goes on
/// hearing the other.
pub async fn carry<A, B>(sandbox: A, host: B, (sent, received): (Count, Count)) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let mut sandbox = CountedStream::new(sandbox, sent.clone());
    let mut host = CountedStream::new(host, received.clone());
    let copying =
        copy_bidirectional_with_sizes(&mut sandbox, &mut host, BUFFER_BYTES, BUFFER_BYTES);
    tokio::select! {
        copied = copying => copied.map(|_bytes| ()),
        () = standstill(&sent, &received) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Resolves once nothing has moved in either direction for very long.
pub async fn standstill(sent: &Count, received: &Count) {
    let now = || (sent.get(), received.get());
    let (mut seen, mut still) = (now(), Duration::ZERO);
    while still < IDLE {
        sleep(GLANCE_PERIOD).await;
        if now() == seen {
            still += GLANCE_PERIOD;
        } else {
            (seen, still) = (now(), Duration::ZERO);
        }
    }
}
