//! Events: what happened in a session, and what clients send to it.

pub mod incoming;
pub mod list;
pub mod send;
pub mod stream;
