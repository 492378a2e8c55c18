//! Messages on a byte stream: each behind its length as an unsigned 32-bit big-endian number.

use std::marker::PhantomData;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use crate::envelope::{self, DecodeError};

/// The stream cannot go on: after any of these the other side is no longer understood.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Also: a frame longer than the bound, or a stream that ended inside a frame.
    #[error("the frame could not be carried over")]
    Stream(#[from] std::io::Error),
    #[error("the frame could not be understood")]
    Content(#[from] DecodeError),
}

/// Reads messages of one type from a byte stream.
pub struct FrameReader<M, R> {
    frames: FramedRead<R, LengthDelimitedCodec>,
    carries: PhantomData<fn() -> M>,
}

impl<M: Message + Default, R: AsyncRead + Unpin> FrameReader<M, R> {
    /// `longest` bounds one frame in bytes, whatever length the other side announces.
    pub fn new(stream: R, longest: usize) -> Self {
        Self { frames: FramedRead::new(stream, codec(longest)), carries: PhantomData }
    }

    /// The next message, or `None` when the stream ended between two frames.
    ///
    /// May be dropped at any await point without losing bytes, so it can stand in a `select!`.
    pub async fn next(&mut self) -> Result<Option<M>, FrameError> {
        match self.frames.next().await {
            Some(frame) => Ok(Some(envelope::decode(&frame?)?)),
            None => Ok(None),
        }
    }
}

/// Writes messages of one type to a byte stream.
pub struct FrameWriter<M, W> {
    frames: FramedWrite<W, LengthDelimitedCodec>,
    carries: PhantomData<fn(M)>,
}

impl<M: Message, W: AsyncWrite + Unpin> FrameWriter<M, W> {
    /// `longest` bounds one frame in bytes; a longer one is refused before any of it is written.
    pub fn new(stream: W, longest: usize) -> Self {
        Self { frames: FramedWrite::new(stream, codec(longest)), carries: PhantomData }
    }

    /// Returns when the whole frame was given to the stream.
    pub async fn send(&mut self, message: &M) -> Result<(), FrameError> {
        Ok(self.frames.send(Bytes::from(envelope::encode(message))).await?)
    }
}

fn codec(longest: usize) -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(longest).new_codec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::link::{RoomFrame, Stdin, room_frame::Body};

    const LONGEST: usize = 1024;

    fn stdin(bytes: usize) -> RoomFrame {
        let data = vec![7; bytes];
        RoomFrame { body: Some(Body::Stdin(Stdin { process: 1, data, close: false })) }
    }

    #[tokio::test]
    async fn frames_arrive_whole_and_in_order_then_the_end() {
        let (left, right) = tokio::io::duplex(16);
        let write = async move {
            let mut writer = FrameWriter::<RoomFrame, _>::new(left, LONGEST);
            for bytes in [0, 1, 500] {
                writer.send(&stdin(bytes)).await.unwrap();
            }
        };
        let read = async move {
            let mut reader = FrameReader::<RoomFrame, _>::new(right, LONGEST);
            let mut received = Vec::new();
            while let Some(frame) = reader.next().await.unwrap() {
                received.push(frame);
            }
            received
        };
        let ((), received) = tokio::join!(write, read);
        assert_eq!(received, [stdin(0), stdin(1), stdin(500)]);
    }

    #[tokio::test]
    async fn a_frame_over_the_bound_is_refused_on_both_sides() {
        let (left, right) = tokio::io::duplex(4096);
        assert!(FrameWriter::new(left, LONGEST).send(&stdin(LONGEST)).await.is_err());

        let (left, _right) = (tokio::io::duplex(4096), right);
        let (near, far) = left;
        FrameWriter::new(near, 4 * LONGEST).send(&stdin(LONGEST)).await.unwrap();
        let refused = FrameReader::<RoomFrame, _>::new(far, LONGEST).next().await;
        assert!(matches!(refused, Err(FrameError::Stream(_))), "{refused:?}");
    }

    #[tokio::test]
    async fn a_stream_that_ends_inside_a_frame_is_a_failure() {
        let cut: &[u8] = &[0, 0, 0, 9, 1, 2];
        let refused = FrameReader::<RoomFrame, _>::new(cut, LONGEST).next().await;
        assert!(matches!(refused, Err(FrameError::Stream(_))), "{refused:?}");
    }
}
