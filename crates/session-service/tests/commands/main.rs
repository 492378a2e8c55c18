//! Session commands against the real database and broker.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answers;
mod forks;
mod house;
mod money;
mod secrets;
mod turns;
