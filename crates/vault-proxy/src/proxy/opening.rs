//! What a program begins to say on a connection: TLS and to whom, HTTP, or something else.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// The longest beginning that is waited for. Hellos with post-quantum keys have about 2 KiB, a request's first line at most 8.
const LONGEST: usize = 32 << 10;
const LONGEST_METHOD: usize = 20;
/// The first byte of a TLS record that holds a handshake.
const HANDSHAKE: u8 = 22;

/// What a connection turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    /// `name` as the hello tells it (SNI), if it does.
    Tls {
        name: Option<String>,
    },
    /// HTTP/1.x in clear.
    Http,
    Other,
    /// Nothing was said in time: in many protocols the server speaks first.
    Silence,
    /// It ended before it was clear.
    End,
}

/// The opening, and the bytes that were read for it.
#[derive(Debug)]
pub struct Opened {
    pub opening: Opening,
    pub bytes: Bytes,
}

/// What can be said about the bytes so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    Unclear,
    Clear(Opening),
}

/// Reads as much as is needed. `patience` is for the first byte and for the rest.
pub async fn read_opening<S: AsyncRead + Unpin>(
    stream: &mut S,
    already: Bytes,
    patience: Duration,
) -> io::Result<Opened> {
    let mut bytes = BytesMut::from(already);
    loop {
        let opening = match judge(&bytes) {
            Judgement::Clear(opening) => opening,
            Judgement::Unclear => {
                bytes.reserve(4 << 10);
                match timeout(patience, stream.read_buf(&mut bytes)).await {
                    Ok(Ok(0)) => Opening::End,
                    Ok(Ok(_)) => continue,
                    Ok(Err(error)) => return Err(error),
                    Err(_elapsed) if bytes.is_empty() => Opening::Silence,
                    Err(_elapsed) => Opening::Other,
                }
            }
        };
        return Ok(Opened { opening, bytes: bytes.freeze() });
    }
}

/// Tells what a connection is that begins with these bytes.
pub fn judge(bytes: &[u8]) -> Judgement {
    let judgement = match bytes {
        [] | [HANDSHAKE] => Judgement::Unclear,
        [HANDSHAKE, 3, ..] => judge_hello(bytes),
        bytes => judge_line(bytes),
    };
    if judgement == Judgement::Unclear && bytes.len() >= LONGEST {
        return Judgement::Clear(Opening::Other);
    }
    judgement
}

fn judge_hello(bytes: &[u8]) -> Judgement {
    let mut acceptor = Acceptor::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        match acceptor.read_tls(&mut rest) {
            Ok(0) => break,
            Ok(_) => {}
            Err(_full) => return Judgement::Clear(Opening::Other),
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                let name = accepted.client_hello().server_name().map(str::to_owned);
                return Judgement::Clear(Opening::Tls { name });
            }
            Ok(None) => {}
            Err(_no_hello) => return Judgement::Clear(Opening::Other),
        }
    }
    Judgement::Unclear
}

/// `METHOD target HTTP/1.x` up to the end of the line: protocols that begin with a word in capitals are no HTTP yet.
fn judge_line(bytes: &[u8]) -> Judgement {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let is_whole = line.len() < bytes.len();
    let method = line.split(|byte| *byte == b' ').next().unwrap_or_default();
    let is_method = method.len() <= LONGEST_METHOD
        && method.iter().all(|byte| byte.is_ascii_uppercase() || matches!(byte, b'-' | b'_'));
    if !is_method || (method.is_empty() && !line.is_empty()) {
        return Judgement::Clear(Opening::Other);
    }
    if !is_whole {
        return Judgement::Unclear;
    }
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let is_http = line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0");
    Judgement::Clear(if is_http { Opening::Http } else { Opening::Other })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_recognised_by_its_whole_first_line() {
        assert_eq!(judge(b"GET / HTTP/1.1\r\nHost"), Judgement::Clear(Opening::Http));
        assert_eq!(judge(b"M-SEARCH * HTTP/1.0\n"), Judgement::Clear(Opening::Http));
        assert_eq!(judge(b"GET /long"), Judgement::Unclear);
        assert_eq!(judge(b"GE"), Judgement::Unclear);
        for other in [
            &b"EHLO example.com\r\n"[..],
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"SSH-2.0-OpenSSH\r\n",
            b"get / HTTP/1.1\r\n",
            b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
            b" GET",
            b"\r\n",
            b"\x16\x02abc",
        ] {
            assert_eq!(judge(other), Judgement::Clear(Opening::Other), "{other:?}");
        }
    }

    #[test]
    fn what_never_ends_is_given_up() {
        let mut endless = b"GET /".to_vec();
        endless.resize(LONGEST, b'a');
        assert_eq!(judge(&endless), Judgement::Clear(Opening::Other));
        let mut record = vec![HANDSHAKE, 3, 1, 0x40, 0];
        record.resize(LONGEST, 1);
        assert_eq!(judge(&record), Judgement::Clear(Opening::Other));
    }
}
