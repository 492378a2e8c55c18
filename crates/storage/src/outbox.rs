//! Messages that a transaction decided to send, until they are published.

mod read;
mod row;
mod write;

pub use read::take_unsent;
pub use row::OutboxMessage;
pub use write::{delete, put};

#[cfg(test)]
mod tests;
