//! Attacks out of a sandbox. Each succeeds first in a room that lacks the protection against it, and fails in one that has it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod attack;
mod disk;
mod files;
mod kernel;
mod limits;
mod neighbours;
mod processes;
mod tools;
