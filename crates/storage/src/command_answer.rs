//! Answers to commands already carried out, so that a repeat is answered as the first time.

mod read;
mod write;

pub use read::find;
pub use write::{delete_older_than, put};
