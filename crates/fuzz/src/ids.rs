//! Ids 1, 2, 3 …, so that an input means the same every time.

use std::sync::atomic::{AtomicU64, Ordering};

use platform_core::clock::IdSource;
use uuid::Uuid;

#[derive(Default)]
pub(crate) struct Counted(AtomicU64);

impl IdSource for Counted {
    fn uuid(&self) -> Uuid {
        Uuid::from_u64_pair(0, self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }
}
