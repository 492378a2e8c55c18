//! The domain of the platform: its types, their states and transitions, its rules. No I/O, no async, no clock of its own.

pub mod agent;
pub mod clock;
pub mod conversation;
pub mod environment;
pub mod failure;
pub mod harness;
pub mod id;
pub mod journal;
#[cfg(feature = "openapi")]
pub mod openapi;
pub mod sandbox;
pub mod session;
pub mod team;
pub mod turn;
pub mod wire;
