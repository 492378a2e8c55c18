//! Calls of models: who pays, how much, and when there is nothing left.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod house;
mod money;
mod told;
