//! The log of each session: appended under the session's lock, never changed.

mod read;
mod row;
mod write;

pub use read::{EventFilter, by_ids, by_numbers, list, range, sizes};
pub use write::{append, copy};

#[cfg(test)]
mod tests;
