//! Vaults: named sets of credentials.

mod read;
mod row;
mod write;

pub use read::{find, find_many, list, lock};
pub use write::{archive, delete, insert, update};

#[cfg(test)]
mod tests;
