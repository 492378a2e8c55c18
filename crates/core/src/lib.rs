//! The domain of the platform: its types, their states and transitions, its rules. No I/O, no async, no clock of its own.

pub mod agent;
pub mod budget;
pub mod clock;
pub mod conversation;
pub mod credential;
pub mod egress;
pub mod environment;
pub mod failure;
pub mod harness;
pub mod id;
pub mod journal;
pub mod network;
#[cfg(feature = "openapi")]
pub mod openapi;
pub mod sandbox;
pub mod secret_text;
pub mod session;
pub mod team;
pub mod turn;
pub mod variable;
pub mod wire;
