//! What the system tests and benchmarks share: the real stack, and a client that speaks to it as a user would.

mod client;
mod house;

pub use client::{Client, EventStream, Streamed};
pub use house::House;
