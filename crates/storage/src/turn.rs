//! Turns of sessions. They are written under their session's lock.

mod read;
mod row;
mod write;

pub use read::{find, last_ordinal, open_turns, opened_through};
pub use write::save;
