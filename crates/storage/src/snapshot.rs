//! Which turns' ends have their files kept.

mod read;
#[cfg(test)]
mod tests;
mod write;

pub use read::exists;
pub use write::{Snapshot, delete, insert, retain};
