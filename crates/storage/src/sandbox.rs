//! Sandboxes. The rows are sandbox-service's own; others only read them.

mod leftover;
mod lock;
mod read;
mod row;
mod unwanted;
mod warm;
mod write;

pub use leftover::{Workspace, find_states, find_workspaces};
pub use lock::{SessionLocks, lock_host};
pub use read::{
    IdleReady, SandboxIdentity, find, find_by_egress_ticket, find_by_session_epoch,
    find_for_update, find_of_team, identity, list, list_living, list_living_ids, list_of_session,
    longest_idle, next_queued, queue_position,
};
pub use unwanted::{Unwanted, list_unwanted};
pub use warm::{
    Claim, WarmPool, claim_warm, count_unclaimed, insert_unclaimed, list_unclaimed, list_warm_pools,
};
pub use write::{
    insert_queued, mark_gone, set_detail, set_egress_ticket_hash, set_token_hash, transition,
};

#[cfg(test)]
mod tests;
