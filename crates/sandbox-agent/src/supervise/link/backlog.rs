//! What the journal holds and the platform has not acknowledged, on its way up in batches.

use std::collections::VecDeque;

use platform_messaging::proto::link::{Entry, Journal};
use tokio::sync::watch;

use crate::supervise::journal::Written;

/// Entries of one batch. The next one goes up when this one is acknowledged.
const BATCH_ENTRIES: usize = 64;
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Entries that wait for their acknowledgement in memory. Beyond this the journal waits, and with it the harness.
const BACKLOG_ENTRIES: usize = 1024;
const BACKLOG_BYTES: usize = 16 * 1024 * 1024;

/// Journal entries on disk that the platform has not acknowledged, oldest first.
#[derive(Default)]
pub(super) struct Backlog {
    entries: VecDeque<Written>,
    bytes: usize,
    written_through: u64,
    /// The last entry of the batch that is under way on this connection.
    under_way: Option<u64>,
    /// Nothing more will be written.
    is_complete: bool,
    acknowledged: watch::Sender<u64>,
}

impl Backlog {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The number of the last entry that is acknowledged, as it rises.
    pub(super) fn acknowledged(&self) -> watch::Receiver<u64> {
        self.acknowledged.subscribe()
    }

    pub(super) fn written_through(&self) -> u64 {
        self.written_through
    }

    /// Whether everything that ever will be written is acknowledged.
    pub(super) fn is_told(&self) -> bool {
        self.is_complete && self.entries.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        !self.is_complete && self.entries.len() < BACKLOG_ENTRIES && self.bytes < BACKLOG_BYTES
    }

    pub(super) fn extend(&mut self, written: Option<Vec<Written>>) {
        self.is_complete = written.is_none();
        for entry in written.into_iter().flatten() {
            self.bytes += entry.body.len();
            self.written_through = entry.number;
            self.entries.push_back(entry);
        }
    }

    /// What goes up next, unless something is under way or there is nothing.
    pub(super) fn next_batch(&mut self) -> Option<Journal> {
        if self.under_way.is_some() {
            return None;
        }
        let mut bytes = 0;
        let batch: Vec<Entry> = self
            .entries
            .iter()
            .take(BATCH_ENTRIES)
            .take_while(|entry| {
                let fits = bytes == 0 || bytes + entry.body.len() <= BATCH_BYTES;
                bytes += entry.body.len();
                fits
            })
            .map(|entry| Entry { number: entry.number, body: entry.body.clone() })
            .collect();
        self.under_way = Some(batch.last()?.number);
        Some(Journal { entries: batch })
    }

    /// On a new connection nothing is under way yet.
    pub(super) fn begin_again(&mut self) {
        self.under_way = None;
    }

    pub(super) fn acknowledge(&mut self, through: u64) {
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.number <= through) {
            self.bytes -= entry.body.len();
            self.acknowledged.send_replace(entry.number);
        }
        if self.under_way.is_some_and(|last| last <= through) {
            self.under_way = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backlog(count: u64) -> Backlog {
        let mut backlog = Backlog::default();
        let written = |number| Written { number, body: vec![0; 10] };
        backlog.extend(Some((1..=count).map(written).collect()));
        backlog
    }

    fn next(backlog: &mut Backlog) -> Option<(u64, u64)> {
        let batch = backlog.next_batch()?.entries;
        Some((batch.first()?.number, batch.last()?.number))
    }

    #[test]
    fn one_batch_is_under_way_at_a_time_and_has_at_most_64_entries() {
        let mut backlog = backlog(100);
        assert_eq!(next(&mut backlog), Some((1, 64)));
        assert_eq!(next(&mut backlog), None);
        backlog.acknowledge(64);
        assert_eq!(next(&mut backlog), Some((65, 100)));
        backlog.acknowledge(100);
        assert_eq!(next(&mut backlog), None);
        assert_eq!((backlog.bytes, backlog.written_through()), (0, 100));
    }

    #[test]
    fn after_a_new_connection_everything_not_acknowledged_goes_up_again() {
        let mut backlog = backlog(3);
        assert_eq!(next(&mut backlog), Some((1, 3)));
        backlog.acknowledge(1);
        backlog.begin_again();
        assert_eq!(next(&mut backlog), Some((2, 3)));
    }

    #[test]
    fn an_entry_larger_than_a_batch_goes_up_alone() {
        let mut backlog = Backlog::default();
        let written = |number| Written { number, body: vec![0; BATCH_BYTES + 1] };
        backlog.extend(Some(vec![written(1), written(2)]));
        assert_eq!(next(&mut backlog), Some((1, 1)));
    }

    #[test]
    fn everything_is_told_only_when_nothing_more_can_come() {
        let mut backlog = backlog(1);
        next(&mut backlog);
        backlog.acknowledge(1);
        assert!(!backlog.is_told());
        backlog.extend(None);
        assert!(backlog.is_told());
    }
}
