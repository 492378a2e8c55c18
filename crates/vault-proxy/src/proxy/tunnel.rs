//! Carries bytes both ways, untouched.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes};
use tokio::time::sleep;

use super::counted::{Count, CountedStream};

const BUFFER_BYTES: usize = 64 << 10;
/// A tunnel in which nothing moves for so long is ended. Programs that wait for longer send signs of life.
const IDLE: Duration = Duration::from_hours(1);
const GLANCE_PERIOD: Duration = Duration::from_mins(1);

/// Carries until both sides have ended, one of them breaks off, or nothing moves any more. A side that ends only its own half goes on
/// hearing the other.
pub async fn carry<A, B>(sandbox: A, host: B, sent: Count, received: Count) -> io::Result<()>
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

async fn standstill(sent: &Count, received: &Count) {
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
