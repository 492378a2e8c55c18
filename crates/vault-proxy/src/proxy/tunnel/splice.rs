//! Moves a tunnel's bytes from socket to socket within the kernel, through a pipe: this process never holds them.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::Shutdown;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::task::consume_budget;

use super::super::counted::Count;
use crate::door::Stream;

/// As much as a pipe is to hold. The kernel grants less where many pipes are open.
const PIPE_BYTES: usize = 256 << 10;
/// Where bytes cannot be spliced.
const BUFFER_BYTES: usize = 64 << 10;

/// Carries both ways until both sides have ended or one breaks off. A side that ends only its own half goes on hearing the other.
pub async fn carry(
    sandbox: &Stream,
    host: &Stream,
    sent: &Count,
    received: &Count,
) -> io::Result<()> {
    tokio::try_join!(pump(sandbox, host, sent), pump(host, sandbox, received))?;
    Ok(())
}

async fn pump(from: &Stream, to: &Stream, count: &Count) -> io::Result<()> {
    // A direction in which nothing ever moves needs no pipe.
    readable(from).await?;
    let has_ended = match Pipe::create() {
        Ok(pipe) => pipe.move_all(from, to, count).await?,
        Err(_too_many_open) => false,
    };
    if !has_ended {
        copy_all(from, to, count).await?;
    }
    match rustix::net::shutdown(to, Shutdown::Write) {
        // It has gone away meanwhile.
        Ok(()) | Err(Errno::NOTCONN) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

struct Pipe {
    exit: OwnedFd,
    entrance: OwnedFd,
}

impl Pipe {
    fn create() -> io::Result<Self> {
        let (exit, entrance) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let _larger_or_not = fcntl_setpipe_size(&entrance, PIPE_BYTES);
        Ok(Self { exit, entrance })
    }

    /// Whether `from` was carried to its end: `false` when its kind of socket cannot be spliced, and nothing was taken from it.
    async fn move_all(&self, from: &Stream, to: &Stream, count: &Count) -> io::Result<bool> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        loop {
            let taken = when(from, Interest::READABLE, || {
                Ok(splice(from, None, &self.entrance, None, PIPE_BYTES, flags)?)
            });
            let mut held = match taken.await {
                Ok(0) => return Ok(true),
                Ok(held) => held,
                Err(error) if is_unsupported(&error) => return Ok(false),
                Err(error) => return Err(error),
            };
            count.add(held);
            // The pipe is empty again before more is taken: that there was nothing to take never means that it was full.
            while held > 0 {
                let given = when(to, Interest::WRITABLE, || {
                    Ok(splice(&self.exit, None, to, None, held, flags)?)
                });
                match given.await? {
                    0 => return Err(io::ErrorKind::WriteZero.into()),
                    given => held = held.saturating_sub(given),
                }
            }
            consume_budget().await;
        }
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::INVAL | Errno::NOSYS | Errno::PERM))
}

async fn copy_all(from: &Stream, to: &Stream, count: &Count) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read =
            when(from, Interest::READABLE, || Ok(rustix::io::read(from, &mut *buffer)?)).await?;
        let mut rest = buffer.get(..read).unwrap_or_default();
        if rest.is_empty() {
            return Ok(());
        }
        count.add(read);
        while !rest.is_empty() {
            let written = when(to, Interest::WRITABLE, || Ok(rustix::io::write(to, rest)?)).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            rest = rest.get(written..).unwrap_or_default();
        }
        consume_budget().await;
    }
}

async fn readable(stream: &Stream) -> io::Result<()> {
    match stream {
        Stream::Unix(stream) => stream.readable().await,
        Stream::Tcp(stream) => stream.readable().await,
    }
}

/// Makes an attempt whenever the socket is ready for it, until one does not find that it would block.
async fn when<R>(
    stream: &Stream,
    interest: Interest,
    attempt: impl FnMut() -> io::Result<R>,
) -> io::Result<R> {
    match stream {
        Stream::Unix(stream) => stream.async_io(interest, attempt).await,
        Stream::Tcp(stream) => stream.async_io(interest, attempt).await,
    }
}
