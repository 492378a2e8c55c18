//! What a session's readers have not all taken yet: each signal once, however many read it, and never more than fits.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// How far a reader may fall behind: signals, and bytes of them. The newest one is kept whatever its size.
const MOST: usize = 1024;
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// Some signals were lost to a reader, because it did not take them in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FellBehind;

/// A place in a backlog, and with it a claim on what comes after. [`Backlog::leave`] gives it back.
#[derive(Debug)]
pub struct Place(u64);

#[derive(Debug)]
pub struct Backlog<T> {
    kept: Mutex<Kept<T>>,
    grown: Notify,
}

#[derive(Debug)]
struct Kept<T> {
    /// Counts all signals there ever were; this is the number of the first one that is kept.
    first: u64,
    signals: VecDeque<Entry<T>>,
    bytes: usize,
    readers: usize,
}

#[derive(Debug)]
struct Entry<T> {
    signal: T,
    bytes: usize,
    /// How many readers have not taken it yet.
    claims: usize,
}

impl<T> Default for Backlog<T> {
    fn default() -> Self {
        let kept = Kept { first: 0, signals: VecDeque::new(), bytes: 0, readers: 0 };
        Self { kept: Mutex::new(kept), grown: Notify::new() }
    }
}

impl<T: Clone> Backlog<T> {
    /// A place after the newest signal.
    pub fn join(&self) -> Place {
        let mut kept = self.lock();
        kept.readers += 1;
        Place(kept.end())
    }

    pub fn leave(&self, place: &Place) {
        let mut kept = self.lock();
        kept.readers = kept.readers.saturating_sub(1);
        kept.release(place);
    }

    /// Goes on after the newest signal.
    pub fn skip(&self, place: &mut Place) {
        let mut kept = self.lock();
        kept.release(place);
        place.0 = kept.end();
    }

    pub fn push(&self, signal: T, bytes: usize) {
        let mut kept = self.lock();
        if kept.readers == 0 {
            kept.first += 1;
            return;
        }
        let claims = kept.readers;
        kept.bytes += bytes;
        kept.signals.push_back(Entry { signal, bytes, claims });
        while kept.signals.len() > 1 && (kept.signals.len() > MOST || kept.bytes > MOST_BYTES) {
            kept.drop_first();
        }
        drop(kept);
        self.grown.notify_waiters();
    }

    /// The next signal, if there is one.
    pub fn take(&self, place: &mut Place) -> Result<Option<T>, FellBehind> {
        self.lock().take(place)
    }

    /// Whether what the place is at was dropped.
    pub fn is_behind(&self, place: &Place) -> bool {
        self.lock().index(place).is_none()
    }

    /// Whether there is nothing to take.
    pub fn is_taken(&self, place: &Place) -> bool {
        self.lock().end() == place.0
    }

    /// The next signal, as soon as there is one. Nothing is lost when this is given up.
    pub async fn next(&self, place: &mut Place) -> Result<T, FellBehind> {
        loop {
            // Made before the look, so that what comes in between is noticed.
            let grown = self.grown.notified();
            if let Some(signal) = self.take(place)? {
                return Ok(signal);
            }
            grown.await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept<T>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> Kept<T> {
    fn end(&self) -> u64 {
        self.first + self.signals.len() as u64
    }

    /// How far behind the first kept signal the place is; `None` when what it is at was dropped.
    fn index(&self, place: &Place) -> Option<usize> {
        place.0.checked_sub(self.first).and_then(|index| usize::try_from(index).ok())
    }

    fn take(&mut self, place: &mut Place) -> Result<Option<T>, FellBehind> {
        let index = self.index(place).ok_or(FellBehind)?;
        let Some(entry) = self.signals.get_mut(index) else { return Ok(None) };
        let signal = entry.signal.clone();
        entry.claims = entry.claims.saturating_sub(1);
        place.0 += 1;
        self.drop_unclaimed();
        Ok(Some(signal))
    }

    fn release(&mut self, place: &Place) {
        let index = self.index(place).unwrap_or(0);
        for entry in self.signals.iter_mut().skip(index) {
            entry.claims = entry.claims.saturating_sub(1);
        }
        self.drop_unclaimed();
    }

    fn drop_unclaimed(&mut self) {
        while self.signals.front().is_some_and(|entry| entry.claims == 0) {
            self.drop_first();
        }
        if self.signals.is_empty() {
            // A burst leaves no room behind.
            self.signals.shrink_to(16);
        }
    }

    fn drop_first(&mut self) {
        if let Some(entry) = self.signals.pop_front() {
            self.bytes -= entry.bytes;
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(backlog: &Backlog<usize>, place: &mut Place) -> Vec<usize> {
        std::iter::from_fn(|| backlog.take(place).unwrap()).collect()
    }

    fn kept(backlog: &Backlog<usize>) -> (usize, usize) {
        let kept = backlog.lock();
        (kept.signals.len(), kept.bytes)
    }

    #[test]
    fn every_reader_takes_every_signal_from_its_place_on() {
        let backlog = Backlog::default();
        backlog.push(0, 1);
        let mut early = backlog.join();
        backlog.push(1, 1);
        let mut late = backlog.join();
        backlog.push(2, 1);
        assert_eq!(taken(&backlog, &mut early), [1, 2]);
        assert_eq!(taken(&backlog, &mut late), [2]);
    }

    #[test]
    fn what_all_have_taken_or_left_is_not_kept() {
        let backlog = Backlog::default();
        backlog.push(0, 100);
        assert_eq!(kept(&backlog), (0, 0));
        let (mut one, mut two, three) = (backlog.join(), backlog.join(), backlog.join());
        backlog.push(1, 10);
        backlog.push(2, 10);
        taken(&backlog, &mut one);
        backlog.leave(&three);
        assert_eq!(kept(&backlog), (2, 20));
        assert_eq!(backlog.take(&mut two), Ok(Some(1)));
        assert_eq!(kept(&backlog), (1, 10));
        backlog.skip(&mut two);
        assert_eq!(kept(&backlog), (0, 0));
        backlog.push(3, 10);
        assert_eq!(taken(&backlog, &mut two), [3]);
    }

    #[test]
    fn who_falls_too_far_behind_is_told_and_holds_nothing_up() {
        let backlog = Backlog::default();
        let (mut slow, mut quick) = (backlog.join(), backlog.join());
        for number in 0..=MOST {
            backlog.push(number, 1);
            assert_eq!(taken(&backlog, &mut quick), [number]);
        }
        assert_eq!(kept(&backlog).0, MOST);
        assert_eq!(backlog.take(&mut slow), Err(FellBehind));
        backlog.skip(&mut slow);
        assert_eq!(kept(&backlog), (0, 0));
        backlog.push(7, 1);
        assert_eq!(taken(&backlog, &mut slow), [7]);
    }

    #[test]
    fn large_signals_count_by_their_size() {
        let backlog = Backlog::default();
        let mut slow = backlog.join();
        backlog.push(1, MOST_BYTES);
        assert_eq!(kept(&backlog), (1, MOST_BYTES));
        backlog.push(2, 2 * MOST_BYTES);
        assert_eq!(kept(&backlog), (1, 2 * MOST_BYTES));
        assert_eq!(backlog.take(&mut slow), Err(FellBehind));
    }

    #[tokio::test]
    async fn a_waiting_reader_is_woken() {
        let backlog = Backlog::default();
        let mut place = backlog.join();
        let (next, ()) = tokio::join!(backlog.next(&mut place), async { backlog.push(1, 1) });
        assert_eq!(next, Ok(1));
    }
}
