//! HTTP in: the Managed Agents wire format under `/v1`, its simple forms under `/api`.
//!
//! A request is parsed once, at the edge, into the domain's types; definitions are written here, and whatever happens to a session is a
//! command to session-service. What streams out was committed before, or is marked as a preview.

pub mod caller;
pub mod commands;
pub mod cursor;
pub mod docs;
pub mod figures;
pub mod harnesses;
pub mod models;
pub mod open_files;
pub mod platform;
pub mod problem;
pub mod query;
pub mod routes;
pub mod sealer;
pub mod server;
pub mod stream;

mod agents;
mod api_keys;
mod body;
mod credentials;
mod egress;
mod environments;
mod events;
mod idempotency;
mod minting;
mod request_id;
mod sandboxes;
mod sessions;
mod simple;
mod teams;
mod vaults;
