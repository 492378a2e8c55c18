//! Messages of the link, as sandbox-service takes them from a sandbox.

use platform_core::id::{SandboxId, SessionId, TurnId};
use platform_core::sandbox::StartupPhase;
use platform_messaging::proto::link::{Frame, frame::Body};
use platform_messaging::{decode, encode};

use crate::Target;

pub const TARGET: Target = Target {
    name: "link_frames",
    check,
    words: &[
        "\n\x01",
        "\x12",
        "\x1a",
        "\"",
        "ready",
        "starting_harness",
        "00000000-0000-7000-8000-000000000001",
    ],
};

fn check(input: &[u8]) {
    let Ok(frame) = decode::<Frame>(input) else { return };
    let again = decode::<Frame>(&encode(&frame));
    assert_eq!(again.as_ref(), Ok(&frame), "it is not what was read");
    match frame.body {
        Some(Body::Hello(hello)) => {
            let _any = hello.sandbox_id.parse::<SandboxId>();
            let _any = hello.session_id.parse::<SessionId>();
            let _any = hello.turn_id.parse::<TurnId>();
        }
        Some(Body::Startup(startup)) => {
            let phase = startup.phase.parse::<StartupPhase>().ok();
            assert!(phase.is_none_or(|phase| phase.as_word() == startup.phase));
        }
        Some(_) | None => {}
    }
}
