//! Teams: the tenants. These functions are the administrator's, so they are the ones that name no team of their own.

mod read;
mod row;
mod write;

pub use read::{allowance, find, find_by_name, list, lock};
pub use write::{add_spent, ensure_default, insert, set_budget, set_internal_hosts, set_retention};

#[cfg(test)]
mod tests;
