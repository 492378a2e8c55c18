//! In place of sandbox-agent's own room: its one process says what it was given, piece by piece, and ends.

use std::collections::VecDeque;
use std::fmt;

#[derive(Default)]
pub(in crate::supervise) struct Process(VecDeque<Vec<u8>>);

pub(in crate::supervise) enum Output {
    Standard(Vec<u8>),
    Error(Vec<u8>),
    Ended(Ended),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::supervise) enum Ended {
    Room,
}

#[derive(Debug, thiserror::Error)]
#[error("the room is gone")]
pub(in crate::supervise) struct RoomError;

impl Process {
    pub(in crate::supervise) fn saying<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Self {
        Self(pieces.map(<[u8]>::to_vec).collect())
    }

    #[expect(clippy::unused_async, reason = "as the real one")]
    pub(in crate::supervise) async fn next(&mut self) -> Output {
        // An empty piece stands for a line on standard error.
        match self.0.pop_front() {
            Some(piece) if piece.is_empty() => Output::Error(b"starting up\n".to_vec()),
            Some(piece) => Output::Standard(piece),
            None => Output::Ended(Ended::Room),
        }
    }

    #[expect(clippy::unused_async, reason = "as the real one")]
    pub(in crate::supervise) async fn write(&self, _: &[u8]) -> Result<(), RoomError> {
        Ok(())
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("its room is gone")
    }
}
