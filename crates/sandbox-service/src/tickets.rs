//! The tickets by which sandboxes without a socket of their own show vault-proxy whose connection it is.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use platform_core::id::SandboxId;
use rand::RngExt;
use sha2::{Digest, Sha256};

/// 256 random bits.
pub type Ticket = [u8; 32];

/// What this replica has handed out over its links. Only hashes are stored: another replica mints another ticket, and the sandbox uses
/// the one that its newest link brought.
#[derive(Default)]
pub struct Tickets {
    of_sandboxes: Mutex<BTreeMap<SandboxId, Ticket>>,
}

impl Tickets {
    /// The sandbox's ticket, minted if it has none from here.
    pub fn of(&self, sandbox: SandboxId) -> Ticket {
        *self.lock().entry(sandbox).or_insert_with(|| rand::rng().random())
    }

    pub fn find(&self, sandbox: SandboxId) -> Option<Ticket> {
        self.lock().get(&sandbox).copied()
    }

    pub fn forget(&self, sandbox: SandboxId) {
        self.lock().remove(&sandbox);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SandboxId, Ticket>> {
        self.of_sandboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is stored of a ticket.
pub fn hash(ticket: &Ticket) -> Vec<u8> {
    Sha256::digest(ticket).to_vec()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_sandbox_keeps_its_ticket_and_no_two_have_the_same() {
        let tickets = Tickets::default();
        let [one, other] = [1, 2].map(|id| SandboxId::from_uuid(Uuid::from_u128(id)));
        let first = tickets.of(one);
        assert_eq!(tickets.of(one), first);
        assert_ne!(tickets.of(other), first);
        tickets.forget(one);
        assert_eq!(tickets.find(one), None);
        assert_ne!(tickets.of(one), first);
    }
}
