//! How far a drill is, and who takes part in it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::reader::Standing;

/// What every actor goes by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stage {
    /// When nothing more is broken, and users send no more messages.
    pub(crate) chaos_ends: Instant,
    pub(crate) phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Chaos,
    /// What was broken is brought back.
    Repair,
    /// Everything is whole again.
    Peace,
}

impl Stage {
    pub(crate) fn lasting(duration: Duration) -> Self {
        Self { chaos_ends: Instant::now() + duration, phase: Phase::Chaos }
    }

    /// Whether users stop asking for more.
    pub(crate) fn has_users_done(&self) -> bool {
        self.phase != Phase::Chaos
    }
}

/// The sessions by their users' numbers, and where each stands.
#[derive(Debug, Default)]
pub(crate) struct Roll(Mutex<BTreeMap<u32, (String, watch::Receiver<Standing>)>>);

impl Roll {
    pub(crate) fn note(&self, user: u32, session: &str, standing: watch::Receiver<Standing>) {
        self.sessions().insert(user, (session.to_owned(), standing));
    }

    pub(crate) fn session(&self, user: u32) -> Option<String> {
        self.sessions().get(&user).map(|(session, _)| session.clone())
    }

    /// One line for a person who waits.
    pub(crate) fn standing(&self) -> String {
        let shown = |(user, (_, standing)): (&u32, &(String, watch::Receiver<Standing>))| {
            let standing = standing.borrow();
            format!("{user}: {} events, {} turns open", standing.last, standing.open.len())
        };
        self.sessions().iter().map(shown).collect::<Vec<_>>().join("; ")
    }

    fn sessions(&self) -> MutexGuard<'_, BTreeMap<u32, (String, watch::Receiver<Standing>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
