//! What a client's `Idempotency-Key` was answered, so that a repeat is answered as the first time.

mod begin;
mod write;

pub use begin::{Begun, TAKEN_OVER_AFTER, begin};
pub use write::{abandon, delete_older_than, finish, forget_session};

#[cfg(test)]
mod tests;
