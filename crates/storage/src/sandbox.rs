//! Sandboxes. The rows are sandbox-service's own; others only read them.

mod read;
mod row;
mod warm;
mod write;

pub use read::{
    IdleReady, SandboxIdentity, find, find_by_session_epoch, find_of_team, identity, list,
    list_living, list_living_ids, list_of_session, longest_idle, next_queued, queue_position,
};
pub use warm::{Claim, claim_warm, count_unclaimed, insert_unclaimed};
pub use write::{insert_queued, mark_gone, set_detail, set_token_hash, transition};

#[cfg(test)]
mod tests;
