//! What is asked of the proxy: ways out to open and close, what a session's sandbox gets, tokens to renew, keys to change; and the gate to ways out.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bound;
mod gate;
mod house;
mod keys;
#[path = "../support/models.rs"]
mod models;
mod placeholders;
mod silence;
mod tokens;
mod ways;
