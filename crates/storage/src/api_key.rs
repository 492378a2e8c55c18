//! Keys of teams: what was shown once is kept only as a hash.

mod read;
mod row;
mod write;

pub use read::{StoredKey, find, find_by_lookup, list, team_of};
pub use write::{insert, revoke, touch_last_used};

#[cfg(test)]
mod tests;
