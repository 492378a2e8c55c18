//! What tests of every crate share: a database and a broker of their own, on real servers.
//!
//! `scripts/test` starts the servers and names them in the environment. To run single tests, start them with
//! `eval "$(scripts/test --services)"` first.

mod broker;
mod database;
mod migrations;
mod servers;

pub use broker::TestBroker;
pub use database::TestDatabase;
pub use servers::TestSupportError;
