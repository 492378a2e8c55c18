//! WebSockets that are looked into: values are taken out of what a host says, and what must not leave ends the connection.

mod frame;
mod scrubbed;
mod watched;

use bytes::{Bytes, BytesMut};
use http::header::SEC_WEBSOCKET_EXTENSIONS;
use http::{HeaderMap, HeaderValue};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};

use super::counted::Count;
use super::tunnel::standstill;
use crate::rules::{BoxError, Injected};

pub use scrubbed::ScrubbedFrames;
pub use watched::{Unfit, WatchedFrames};

const PIECE_BYTES: usize = 64 << 10;

pub fn is_websocket(protocol: &HeaderValue) -> bool {
    protocol.as_bytes().trim_ascii().eq_ignore_ascii_case(b"websocket")
}

/// Asks for messages in their plain form: what an extension has compressed cannot be searched.
pub fn ask_for_what_can_be_searched(headers: &mut HeaderMap) {
    headers.remove(SEC_WEBSOCKET_EXTENSIONS);
}

/// Who looks into a connection's messages.
pub struct Guards {
    scrubbed: Option<ScrubbedFrames>,
    watched: Option<WatchedFrames>,
}

impl Guards {
    /// `None` when there is nothing to look for.
    pub fn of(injected: &Injected) -> Option<Self> {
        // One each for messages and for what may come in their midst.
        let scrubbed = injected.scrubber().zip(injected.scrubber());
        let watched = injected.watcher().zip(injected.watcher());
        if scrubbed.is_none() && watched.is_none() {
            return None;
        }
        Some(Self {
            scrubbed: scrubbed.map(|(one, other)| ScrubbedFrames::new(one, other)),
            watched: watched.map(|(one, other)| WatchedFrames::new(one, other)),
        })
    }
}

/// Carries messages until both sides have ended, one breaks off or says what may not be passed on, or nothing moves any more.
pub async fn carry<A, B>(
    sandbox: A,
    host: B,
    guards: Guards,
    (sent, received): (Count, Count),
) -> Result<(), BoxError>
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let Guards { mut scrubbed, mut watched } = guards;
    let (from_sandbox, to_sandbox) = split(sandbox);
    let (from_host, to_host) = split(host);
    let there = pump(from_sandbox, to_host, &sent, |piece| {
        if let Some(watched) = &mut watched {
            watched.push(&piece).map_err(Unfit::into_cause)?;
        }
        Ok(piece)
    });
    let back = pump(from_host, to_sandbox, &received, |piece| match &mut scrubbed {
        Some(scrubbed) => Ok(scrubbed.push(&piece)?),
        None => Ok(piece),
    });
    tokio::select! {
        carried = async { tokio::try_join!(there, back) } => carried.map(|((), ())| ()),
        () = standstill(&sent, &received) => Err("nothing has moved for too long".into()),
    }
}

async fn pump<A, B>(
    mut from: ReadHalf<A>,
    mut to: WriteHalf<B>,
    count: &Count,
    mut pass: impl FnMut(Bytes) -> Result<Bytes, BoxError>,
) -> Result<(), BoxError>
where
    A: AsyncRead,
    B: AsyncWrite,
{
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(PIECE_BYTES);
        let read = from.read_buf(&mut buffer).await?;
        if read == 0 {
            return Ok(to.shutdown().await?);
        }
        count.add(read);
        let passed = pass(buffer.split().freeze())?;
        to.write_all(&passed).await?;
        to.flush().await?;
    }
}
