//! Messages that a transaction decided to send, until they are published.

mod read;
mod row;
mod write;

pub use read::{PassedOver, take_unsent, take_unsent_beside};
pub use row::OutboxMessage;
pub use write::{delete, put};

#[cfg(test)]
mod tests;
