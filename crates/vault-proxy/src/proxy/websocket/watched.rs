//! What a program sends: its frames pass as they are, and end where something is found in them that must not leave.

use bytes::{Buf, Bytes, BytesMut};

use super::frame::{Head, Malformed, Opcode, Order};
use crate::rules::{BoxError, Misuse};
use crate::secrets::Watcher;

/// The frames of one program on their way to a host.
pub struct WatchedFrames {
    /// Of the message under way, and of control frames, which may come in its midst.
    messages: Watcher,
    controls: Watcher,
    order: Order,
    incoming: BytesMut,
    frame: Option<Frame>,
}

struct Frame {
    head: Head,
    left: u64,
    /// How much of the payload has been unmasked, in circles of the mask's length.
    turn: usize,
}

/// What is sent may not be passed on.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    Misuse(#[from] Misuse),
}

impl Unfit {
    /// What it is, without this around it.
    pub fn into_cause(self) -> BoxError {
        match self {
            Self::Malformed(malformed) => malformed.into(),
            Self::Misuse(misuse) => misuse.into(),
        }
    }
}

impl WatchedFrames {
    pub fn new(messages: Watcher, controls: Watcher) -> Self {
        Self { messages, controls, order: Order::default(), incoming: BytesMut::new(), frame: None }
    }

    /// Looks at what is about to be passed on.
    pub fn push(&mut self, sent: &[u8]) -> Result<(), Unfit> {
        self.incoming.extend_from_slice(sent);
        while self.step()? {}
        Ok(())
    }

    /// Whether there was something to do.
    fn step(&mut self) -> Result<bool, Unfit> {
        let Some(frame) = self.frame.take() else { return self.begin() };
        let length = usize::try_from(frame.left).unwrap_or(usize::MAX).min(self.incoming.len());
        if length == 0 && frame.left > 0 {
            self.frame = Some(frame);
            return Ok(false);
        }
        let payload = unmasked(self.incoming.split_to(length), &frame);
        let watcher = match frame.head.opcode {
            Opcode::Continuation | Opcode::Text | Opcode::Binary => Some(&mut self.messages),
            Opcode::Close | Opcode::Ping => Some(&mut self.controls),
            // It repeats what the host has said, placeholders in the place of values too.
            Opcode::Pong => None,
        };
        let left = frame.left.saturating_sub(u64::try_from(length).unwrap_or(u64::MAX));
        let is_end = left == 0 && frame.head.is_final;
        if let Some(watcher) = watcher {
            watcher.push(payload)?;
            if is_end {
                watcher.finish()?;
            }
        }
        if left > 0 {
            let turn = (frame.turn + length) % 4;
            self.frame = Some(Frame { left, turn, ..frame });
        }
        Ok(true)
    }

    fn begin(&mut self) -> Result<bool, Unfit> {
        let Some((head, own_length)) = Head::read(&self.incoming)? else { return Ok(false) };
        if !head.opcode.is_control() {
            self.order.note(&head)?;
        }
        self.incoming.advance(own_length);
        self.frame = Some(Frame { head, left: head.length, turn: 0 });
        Ok(true)
    }
}

fn unmasked(mut payload: BytesMut, frame: &Frame) -> Bytes {
    if let Some(mask) = frame.head.mask {
        for (byte, of_mask) in payload.iter_mut().zip(mask.iter().cycle().skip(frame.turn)) {
            *byte ^= of_mask;
        }
    }
    payload.freeze()
}
