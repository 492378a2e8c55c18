//! Which turns' ends have their files kept.

mod read;
mod write;

pub use read::exists;
pub use write::{Snapshot, delete, insert, retain};
