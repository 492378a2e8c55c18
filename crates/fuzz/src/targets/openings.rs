//! What a connection out of a sandbox begins with: a TLS hello, a request, or something else.

use vault_proxy::proxy::opening::{Judgement, Opening, judge};

use crate::Target;

pub const TARGET: Target = Target {
    name: "openings",
    check,
    words: &[
        "GET / HTTP/1.1\r\n",
        " HTTP/1.0\n",
        "\x16\x03\x01",
        "\x16\x03\x03",
        "\0\0",
        "example.com",
        "CONNECT ",
        "SSH-2.0-",
        "PRI * HTTP/2.0\r\n",
    ],
};

/// The first byte says how much arrives first. What is clear by then stays so, whatever follows: the rest goes where the beginning was
/// let through to.
fn check(input: &[u8]) {
    let Some((first, bytes)) = input.split_first() else { return };
    let whole = judge(bytes);
    let arrived = bytes.len() * usize::from(*first) / 256;
    let early = judge(bytes.get(..arrived).unwrap_or_default());
    assert!(early == Judgement::Unclear || early == whole, "{early:?} became {whole:?}");
    if let Judgement::Clear(Opening::Tls { name: Some(name) }) = &whole {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        assert!(name.bytes().all(is_name), "{name:?} is no name");
    }
}
