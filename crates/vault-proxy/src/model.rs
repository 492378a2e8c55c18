//! The way to LiteLLM: which calls leave, on whose account, and what they cost.

mod calls;
mod chat;
pub mod forward;
pub mod keys;
pub mod ledger;
mod metered;
pub mod owner;
pub mod policy;
pub mod prices;
pub mod usage;

pub use calls::{Calls, Models};
pub use chat::asking_for_usage;
