//! PostgreSQL behind typed functions: the only crate that says diesel.
//!
//! A module per noun, each with its rows (`row`), its queries (`read`) and its changes (`write`). Every function takes a [`Connection`], so
//! that it runs on a pooled connection or inside [`Database::transaction`] alike. What touches a team's rows takes the team;
//! the few exceptions say why. Nothing is decided here.
//!
//! What takes `&Connection` may be awaited together with others of its kind: PostgreSQL gets them in one go, and carries them out in the
//! order in which they were polled first.

pub mod agent;
pub mod api_key;
pub mod command_answer;
pub mod credential;
pub mod egress_decision;
pub mod environment;
pub mod event;
pub mod idempotency;
pub mod job_lease;
pub mod outbox;
pub mod sandbox;
pub mod secret;
pub mod session;
pub mod snapshot;
pub mod team;
pub mod turn;
pub mod vault;

mod column;
mod failure;
#[cfg(test)]
mod fixture;
#[cfg(feature = "migrations")]
pub mod migrations;
mod page;
mod pool;
mod prepared;
mod schema;

pub use diesel_async::AsyncPgConnection as Connection;

pub use failure::StorageError;
pub use page::{Cursor, Order, Page, PageRequest, Position, TimeRange};
pub use pool::{Database, PooledConnection};
