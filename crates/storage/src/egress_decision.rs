//! What the way out decided about the requests of each session.

mod read;
mod row;
mod write;

pub use read::{DecisionFilter, list};
pub use write::{forget_before, insert};

#[cfg(test)]
mod tests;
