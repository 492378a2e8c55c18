//! What the system tests and benchmarks share: the real stack, and a client that speaks to it as a user would.

#![expect(
    clippy::indexing_slicing,
    reason = "looking into a JSON value answers null, it does not panic"
)]

mod client;
mod house;
mod patient;
mod secrets;
pub mod upstream;

pub use client::{Client, EventStream, Streamed};
pub use house::House;
pub use patient::{GaveUp, PatientClient, Reply};
pub use secrets::Secret;
