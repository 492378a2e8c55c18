//! The real clock and the real source of ids. The only place where the time of day is read.

use chrono::{DateTime, Utc};
use platform_core::clock::{Clock, IdSource, to_microseconds};
use uuid::Uuid;

/// The machine's clock, in whole microseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everybody else is given")]
    fn now(&self) -> DateTime<Utc> {
        to_microseconds(Utc::now())
    }
}

/// Fresh UUIDs of version 7.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemIds;

impl IdSource for SystemIds {
    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_the_time_of_their_making() {
        let minted: Vec<Uuid> = (0..100).map(|_| SystemIds.uuid()).collect();
        assert!(minted.is_sorted());
    }

    #[test]
    fn the_clock_tells_whole_microseconds() {
        assert_eq!(SystemClock.now().timestamp_subsec_nanos() % 1000, 0);
    }
}
