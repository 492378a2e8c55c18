//! What was done to whom, printed as it happens and summed up at the end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::chaos::Kind;
use crate::judge::Excuses;

/// The diary of one drill.
pub(crate) struct Record {
    began: Instant,
    counts: Mutex<BTreeMap<(String, &'static str), u32>>,
    /// Whether vault-proxy, over which model requests leave, was hit.
    broken_requests: AtomicBool,
    /// How often the harness of each user's session was hit.
    harness: Mutex<BTreeMap<u32, u32>>,
}

impl Record {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            counts: Mutex::default(),
            broken_requests: AtomicBool::new(false),
            harness: Mutex::default(),
        }
    }

    pub(crate) fn say(&self, text: &str) {
        eprintln!("[{:6.1}s] {text}", self.began.elapsed().as_secs_f64());
    }

    pub(crate) fn note(&self, kind: Kind, text: &str) {
        self.say(&format!("{:<8} {text}", kind.as_str()));
    }

    pub(crate) fn count(&self, how: &'static str, whom: &str) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((whom.to_owned(), how)).or_default() += 1;
    }

    pub(crate) fn harness_was_hit(&self, user: u32) {
        let mut hits = self.harness.lock().unwrap_or_else(PoisonError::into_inner);
        *hits.entry(user).or_default() += 1;
    }

    pub(crate) fn requests_were_broken(&self) {
        self.broken_requests.store(true, Ordering::Relaxed);
    }

    /// What of this user's session may show.
    pub(crate) fn excuses(&self, user: u32) -> Excuses {
        let hits = self.harness.lock().unwrap_or_else(PoisonError::into_inner);
        Excuses {
            harness_hits: hits.get(&user).copied().unwrap_or_default(),
            broken_requests: self.broken_requests.load(Ordering::Relaxed),
        }
    }

    /// Whom, how, how often.
    pub(crate) fn table(&self) -> Vec<(String, &'static str, u32)> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|((whom, how), count)| (whom.clone(), *how, *count)).collect()
    }
}
