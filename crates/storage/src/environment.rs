//! Environments: what sandboxes of a team are like.

mod read;
mod row;
mod write;

pub use read::{EnvironmentFilter, find, find_by_name, list, lock};
pub use write::{archive, delete, find_or_insert_by_name, insert, update};

#[cfg(test)]
mod tests;
