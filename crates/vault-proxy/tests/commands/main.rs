//! What is asked of the proxy: ways out to open and close, what a session's sandbox gets, tokens to renew, keys to change.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bound;
mod house;
mod keys;
#[path = "../support/models.rs"]
mod models;
mod silence;
mod tokens;
mod ways;
