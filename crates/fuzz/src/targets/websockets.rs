//! The frames of a WebSocket that is looked into: those of a host, written anew without values, and those of a program.

use http::Request;
use platform_core::credential::InjectionLocation;
use platform_core::network::Host;
use vault_proxy::proxy::websocket::{ScrubbedFrames, WatchedFrames};
use vault_proxy::rules::{Injected, Injection, Secrets};
use vault_proxy::secrets::{Hosts, NamedSecret, SecretUse, SecretsParts};

use crate::Target;

const VALUE: &str = "the-real-value";
const PLACEHOLDER: &str = "lap_0123456789abcdefghijklmnop";

pub const TARGET: Target = Target {
    name: "websockets",
    check,
    words: &[
        VALUE,
        "the-real",
        PLACEHOLDER,
        "\x01\x05",
        "\0\x0e",
        "\0\x09",
        "\x02\x7e\0\x10",
        "\x0f\x7f\0\0\0\0\0\0\0\x01",
    ],
};

/// The first byte says in how large pieces the rest arrives. What passes is the same as in one piece, and holds no value.
fn check(input: &[u8]) {
    let Some((first, bytes)) = input.split_first() else { return };
    let Some(injected) = injected() else { return };
    let Some((one, other)) = injected.scrubber().zip(injected.scrubber()) else { return };
    let mut whole = ScrubbedFrames::new(one, other);
    let Some((one, other)) = injected.scrubber().zip(injected.scrubber()) else { return };
    let mut in_pieces = ScrubbedFrames::new(one, other);
    let at_once = whole.push(bytes);
    let mut passed = Vec::new();
    let mut is_whole = true;
    for piece in bytes.chunks(usize::from(*first) + 1) {
        match in_pieces.push(piece) {
            Ok(of_piece) => passed.extend_from_slice(&of_piece),
            Err(_malformed) => {
                is_whole = false;
                break;
            }
        }
    }
    assert_eq!(is_whole, at_once.is_ok(), "how it is cut decides whether it is well formed");
    if let Ok(at_once) = at_once {
        assert_eq!(passed, at_once, "how it is cut decides what passes");
    }
    let mut rest = passed.as_slice();
    while let Some((payload, behind)) = payload_of(rest) {
        let has_value = payload.windows(VALUE.len()).any(|window| window == VALUE.as_bytes());
        assert!(!has_value, "a value has passed");
        rest = behind;
    }
    assert!(rest.is_empty(), "half a frame has passed");
    if let Some((one, other)) = injected.watcher().zip(injected.watcher()) {
        let mut frames = WatchedFrames::new(one, other);
        let _passes_or_not =
            bytes.chunks(usize::from(*first) + 1).try_for_each(|it| frames.push(it));
    }
}

/// The payload of the first frame, none of which is masked, and what stands behind it.
fn payload_of(frames: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = frames.split_first_chunk::<2>()?;
    let (length, rest) = match head[1] {
        126 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (u64::from(u16::from_be_bytes(*length)), rest)
        }
        127 => {
            let (length, rest) = rest.split_first_chunk::<8>()?;
            (u64::from_be_bytes(*length), rest)
        }
        length => (u64::from(length), rest),
    };
    rest.split_at_checked(usize::try_from(length).ok()?)
}

/// As it is for a host at which the value may be used.
fn injected() -> Option<Injected> {
    let location = InjectionLocation::default();
    let named = NamedSecret {
        name: "TOKEN".to_owned(),
        placeholders: vec![PLACEHOLDER.to_owned()],
        uses: vec![SecretUse { value: VALUE.into(), hosts: Hosts::Every, location }],
    };
    let secrets = Secrets::new(SecretsParts { named: vec![named], ..SecretsParts::default() });
    let host: Host = "api.test".parse().ok()?;
    let target = Injection { host: &host, port: 443, is_encrypted: true, is_internal: false };
    let (mut head, ()) = Request::get("/").body(()).ok()?.into_parts();
    secrets.inject(&target, &mut head).ok()
}
