//! One line for each step that a person waits for.

use std::time::{Duration, Instant};

/// Writes `[ 12s] starting …` lines to standard error, so that standard output stays for results.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    began: Instant,
    before: Duration,
}

impl Progress {
    /// `before` is the time that already passed in the script that started this process.
    #[must_use]
    pub fn since(before: Duration) -> Self {
        Self { began: Instant::now(), before }
    }

    pub fn step(&self, what: &str) {
        eprintln!("[{:3}s] {what}", (self.before + self.began.elapsed()).as_secs());
    }
}
