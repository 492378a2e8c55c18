//! The way out to other hosts, with real sockets: a door, the rules of a session, servers that stand in for the internet.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod client;
mod denials;
mod house;
mod misuse;
#[path = "../support/models.rs"]
mod models;
mod replicas;
mod streams;
mod terminated;
mod tools;
mod tunnels;
mod upstream;
mod websockets;
