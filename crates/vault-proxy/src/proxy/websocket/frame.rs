//! The heads of WebSocket frames (RFC 6455, 5.2), read strictly: what is no frame of the plain protocol could hide something.

use bytes::{BufMut, BytesMut};

/// A control frame's payload is never longer.
pub const LONGEST_CONTROL: usize = 125;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    pub fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    fn of(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub is_final: bool,
    pub opcode: Opcode,
    pub mask: Option<[u8; 4]>,
    pub length: u64,
}

/// The stream is none of WebSocket frames without extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what was sent is no WebSocket frame: {0}")]
pub struct Malformed(pub &'static str);

impl Head {
    /// The head at the beginning of the bytes, with its own length. `None` when not all of it is there.
    pub fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(Malformed("it makes use of an extension"));
        }
        let opcode = Opcode::of(first & 0x0f).ok_or(Malformed("its kind is not known"))?;
        let is_final = first & 0x80 != 0;
        let (length, length_bytes) = match second & 0x7f {
            126 => match rest.first_chunk::<2>() {
                Some(bytes) => (u64::from(u16::from_be_bytes(*bytes)), 2),
                None => return Ok(None),
            },
            127 => match rest.first_chunk::<8>() {
                Some(bytes) => (u64::from_be_bytes(*bytes), 8),
                None => return Ok(None),
            },
            length => (u64::from(length), 0),
        };
        if length > u64::MAX >> 1 {
            return Err(Malformed("its length is negative"));
        }
        if opcode.is_control() && (!is_final || length_bytes > 0) {
            return Err(Malformed("a control frame is in parts or too long"));
        }
        let is_masked = second & 0x80 != 0;
        let mask = rest.get(length_bytes..).and_then(<[u8]>::first_chunk::<4>).copied();
        let mask = mask.filter(|_| is_masked);
        if is_masked && mask.is_none() {
            return Ok(None);
        }
        let own_length = 2 + length_bytes + if is_masked { 4 } else { 0 };
        Ok(Some((Self { is_final, opcode, mask, length }, own_length)))
    }
}

/// Writes an unmasked frame.
pub fn write(to: &mut BytesMut, is_final: bool, opcode: Opcode, payload: &[u8]) {
    to.put_u8(if is_final { 0x80 } else { 0 } | opcode.bits());
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..126), _) => to.put_u8(length),
        (_, Ok(length)) => {
            to.put_u8(126);
            to.put_u16(length);
        }
        (_, Err(_longer)) => {
            to.put_u8(127);
            to.put_u64(u64::try_from(payload.len()).unwrap_or(u64::MAX));
        }
    }
    to.extend_from_slice(payload);
}

/// In which order the frames of messages may come.
#[derive(Debug, Default)]
pub struct Order {
    is_open: bool,
}

impl Order {
    /// Notes a frame that is not a control frame.
    pub fn note(&mut self, head: &Head) -> Result<(), Malformed> {
        if (head.opcode == Opcode::Continuation) != self.is_open {
            return Err(Malformed("a message is not ended, or goes on without having begun"));
        }
        self.is_open = !head.is_final;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let (payload, mut written) = (vec![7; length], BytesMut::new());
            write(&mut written, true, Opcode::Binary, &payload);
            let (head, own) = Head::read(&written).unwrap().unwrap();
            let length = length as u64;
            assert_eq!(head, Head { is_final: true, opcode: Opcode::Binary, mask: None, length });
            assert_eq!(written[own..], payload);
            for cut in 0..own {
                assert_eq!(Head::read(&written[..cut]), Ok(None), "{length} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_mask_is_part_of_the_head() {
        let (head, own) = Head::read(&[0x01, 0x82, 1, 2, 3, 4, 5, 6]).unwrap().unwrap();
        assert_eq!((head.mask, head.length, own), (Some([1, 2, 3, 4]), 2, 6));
        assert_eq!((head.is_final, head.opcode), (false, Opcode::Text));
        assert_eq!(Head::read(&[0x01, 0x82, 1, 2, 3]), Ok(None));
    }

    #[test]
    fn what_could_hide_something_is_no_frame() {
        for bytes in [
            &[0xc1, 0x00][..],
            &[0x83, 0x00],
            &[0x8b, 0x00],
            &[0x08, 0x00],
            &[0x88, 0x7e, 0x00, 0x7e],
            &[0x82, 0x7f, 0x80, 0, 0, 0, 0, 0, 0, 0],
            b"HTTP/1.1",
        ] {
            assert!(Head::read(bytes).is_err(), "{bytes:?}");
        }
    }
}
