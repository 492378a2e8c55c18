//! Sessions: one row each, changed only under its lock.

mod due;
mod read;
mod row;
mod write;

pub use due::{
    Bereft, BereftSince, Due, IdleSandbox, list_archived_for_long, list_bereft,
    list_idle_with_sandbox, list_inactive, list_resumable,
};
pub use read::{SessionFilter, find, find_live_by_context, list, lock};
pub use write::{delete, insert, update, update_state};

#[cfg(test)]
mod tests;
