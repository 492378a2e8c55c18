//! session-service: owns sessions, turns and events; the only place that numbers events.

pub mod commands;

mod aftermath;
mod failure;
mod outgoing;
mod redaction;
mod stored;
mod transcript;
mod unfinished;
