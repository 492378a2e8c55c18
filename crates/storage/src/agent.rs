//! Agents and their versions.

mod read;
mod row;
mod write;

pub use read::{AgentFilter, find, list, list_versions};
pub use write::{archive, insert, update};

#[cfg(test)]
mod tests;
