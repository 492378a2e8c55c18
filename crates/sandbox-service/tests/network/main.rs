//! The network of a sandbox, with the real `init` in a real room: everything arrives at the sandbox's door, or nowhere.
//!
//! The door is the test's own and notes what was asked of it. `init` is the program beside this service's own, which
//! `cargo build --workspace --bins` builds.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod names;
mod ports;
mod proxy;
mod room;
mod supervised;
mod walls;
