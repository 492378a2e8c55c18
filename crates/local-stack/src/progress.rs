//! One line for each step that a person waits for.

use std::time::{Duration, Instant};

/// Writes `[ 12s] installing …` lines to standard error, so that standard output stays for results.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    began: Instant,
    before: Duration,
    quiet: bool,
}

impl Progress {
    /// `before` is the time that already passed in the script that started this process.
    #[must_use]
    pub fn since(before: Duration) -> Self {
        Self { began: Instant::now(), before, quiet: false }
    }

    /// Says nothing: for tests.
    #[must_use]
    pub fn quiet() -> Self {
        Self { began: Instant::now(), before: Duration::ZERO, quiet: true }
    }

    pub fn step(&self, what: &str) {
        if !self.quiet {
            let elapsed = self.before + self.began.elapsed();
            eprintln!("[{:3}s] {what}", elapsed.as_secs());
        }
    }
}
