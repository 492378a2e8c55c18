//! Which replica of the worker has which job in hand.

mod write;

pub use write::{claim, hold, release};

#[cfg(test)]
mod tests;
