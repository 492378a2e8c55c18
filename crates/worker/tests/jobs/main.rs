//! The worker's jobs against the real database and broker, with a moved clock.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod forgetting;
mod house;
mod replicas;
mod sandboxes;
mod sessions;
mod sweeping;
