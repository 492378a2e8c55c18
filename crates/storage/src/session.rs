//! Sessions: one row each, changed only under its lock.

mod read;
mod row;
mod write;

pub use read::{
    IdleSandbox, SessionFilter, find, find_live_by_context, list, list_idle_with_sandbox, lock,
};
pub use write::{delete, insert, update, update_state};

#[cfg(test)]
mod tests;
