//! The messages of `/proto` as Rust types, one module per noun.

/// Commands that session-service carries out, and its answers.
#[allow(clippy::pedantic, reason = "generated code")]
pub mod session {
    include!(concat!(env!("OUT_DIR"), "/platform.session.v1.rs"));
}

/// Commands that sandbox-service carries out.
#[allow(clippy::pedantic, reason = "generated code")]
pub mod sandbox {
    include!(concat!(env!("OUT_DIR"), "/platform.sandbox.v1.rs"));
}

/// Frames of the link between sandbox-agent and sandbox-service, and of the socket between a sandbox's two rooms.
#[allow(clippy::pedantic, reason = "generated code")]
pub mod link {
    include!(concat!(env!("OUT_DIR"), "/platform.link.v1.rs"));
}

/// Commands to vault-proxy.
#[allow(clippy::pedantic, reason = "generated code")]
pub mod egress {
    include!(concat!(env!("OUT_DIR"), "/platform.egress.v1.rs"));
}

/// What is announced to whoever listens: committed events and previews.
#[allow(clippy::pedantic, reason = "generated code")]
pub mod event {
    include!(concat!(env!("OUT_DIR"), "/platform.event.v1.rs"));
}
