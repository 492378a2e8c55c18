//! Credentials: which secret may be used where. Their values are in [`crate::secret`].

mod read;
mod row;
mod write;

pub use read::{find, list, lock, of_vaults};
pub use write::{archive, delete, insert, update};
pub(crate) use write::{archive_all, forget_values};

#[cfg(test)]
mod tests;
