//! The journal: what happened in this epoch, on disk before anyone is told.

mod file;
mod place;

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use platform_core::id::TurnId;
use platform_core::journal::Entry;
use platform_core::sandbox::{Epoch, JournalMark};
use tokio::sync::{mpsc, oneshot, watch};

use self::file::{Cut, Earlier, JournalFile, Record};
pub(super) use self::place::Place;

/// Entries that may wait for the disk. When they do, the harness waits too.
const WAITING: usize = 64;

/// Entries that share one write to the disk, if so many came together.
const TOGETHER: usize = 64;

/// So many bytes of entries that the platform has are cut off the file at a time.
const CUT_AT: u64 = 4 * 1024 * 1024;

/// Where the journal of one epoch is written. Dropping it ends the writer once everything is on disk.
pub(super) struct Journal {
    appends: mpsc::Sender<Append>,
}

/// An entry that is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) number: u64,
    /// platform_core::journal::Entry as JSON.
    pub(super) body: Vec<u8>,
}

/// What the journals on the volume say about turns.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Past {
    /// Turns that an earlier epoch's harness was given; `None` when there is no earlier journal to tell.
    pub(super) started_before: Option<HashSet<TurnId>>,
    /// Turns whose end is written in this epoch's journal: by an earlier process, or by the sandbox before, who died before it was told.
    pub(super) ended: HashSet<TurnId>,
    /// The harness's own name for the session, if it was never told.
    pub(super) harness_session: Option<String>,
    /// The number of the last entry that the journal begins with; they have to be told before anything else is.
    pub(super) kept: u64,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum JournalError {
    #[error("the journal in {} cannot be opened", folder.display())]
    Open { folder: PathBuf, source: io::Error },
    #[error("an entry has no JSON form")]
    Encode(#[from] serde_json::Error),
    #[error("the journal cannot be written; the disk may be full")]
    Closed,
}

struct Append {
    body: Vec<u8>,
    durable: Option<oneshot::Sender<()>>,
}

impl Journal {
    /// Opens the journal of `epoch`. Entries go to `written` once they are on disk, in order, those of an earlier process of the same
    /// epoch first, or what the sandbox before wrote and the platform has not taken. Those that are acknowledged may be cut off the file.
    pub(super) fn open(
        folder: &Path,
        epoch: Epoch,
        taken: Option<JournalMark>,
        written: mpsc::Sender<Vec<Written>>,
        acknowledged: watch::Receiver<u64>,
    ) -> Result<(Self, Past), JournalError> {
        let opening = |source| JournalError::Open { folder: folder.to_owned(), source };
        let Earlier { started, tail } = file::earlier(folder, epoch, taken).map_err(opening)?;
        let (file, cut, kept) = JournalFile::open(folder, epoch, &tail).map_err(opening)?;
        let writer = Writer { file, number: cut.through, written, acknowledged };
        let past = Past::of(started, cut, &kept);

        let (appends, waiting) = mpsc::channel(WAITING);
        std::thread::Builder::new()
            .name("journal".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || writer.write_all(kept, waiting))
            .map_err(opening)?;
        Ok((Self { appends }, past))
    }

    /// Returns when the entry has its place in the order, not yet on disk.
    pub(super) async fn append(&self, entry: &Entry) -> Result<(), JournalError> {
        self.send(entry, None).await
    }

    /// Returns when the entry is on disk.
    pub(super) async fn append_durably(&self, entry: &Entry) -> Result<(), JournalError> {
        let (durable, is_durable) = oneshot::channel();
        self.send(entry, Some(durable)).await?;
        is_durable.await.map_err(|_| JournalError::Closed)
    }

    async fn send(
        &self,
        entry: &Entry,
        durable: Option<oneshot::Sender<()>>,
    ) -> Result<(), JournalError> {
        let body = serde_json::to_vec(entry)?;
        self.appends.send(Append { body, durable }).await.map_err(|_| JournalError::Closed)
    }
}

/// The writer's thread. It blocks on the disk so that the rest need not; entries that came meanwhile share the next write.
struct Writer {
    file: JournalFile,
    /// Of the last entry.
    number: u64,
    written: mpsc::Sender<Vec<Written>>,
    acknowledged: watch::Receiver<u64>,
}

impl Writer {
    /// Ends when the journal is dropped, when nobody takes what is written any more, or when the disk refuses: the channel is then
    /// closed, which the next append reports.
    fn write_all(mut self, kept: Vec<Record>, mut waiting: mpsc::Receiver<Append>) {
        let kept: Vec<Written> = kept.into_iter().map(|record| self.numbered(record.0)).collect();
        if !kept.is_empty() && self.written.blocking_send(kept).is_err() {
            return;
        }
        while let Some(first) = waiting.blocking_recv() {
            let mut together = vec![first];
            while together.len() < TOGETHER
                && let Ok(next) = waiting.try_recv()
            {
                together.push(next);
            }
            if let Err(error) = self.write(&together) {
                tracing::error!(error = &error as &dyn std::error::Error, "the journal failed");
                return;
            }
            let mut entries = Vec::with_capacity(together.len());
            for append in together {
                if let Some(durable) = append.durable {
                    durable.send(()).ok();
                }
                entries.push(self.numbered(append.body));
            }
            if self.written.blocking_send(entries).is_err() {
                return;
            }
        }
    }

    fn write(&mut self, together: &[Append]) -> io::Result<()> {
        self.file.append(together.iter().map(|append| append.body.as_slice()))?;
        let through = *self.acknowledged.borrow();
        self.file.cut(through, CUT_AT)
    }

    fn numbered(&mut self, body: Vec<u8>) -> Written {
        self.number += 1;
        Written { number: self.number, body }
    }
}

impl Past {
    fn of(started_before: Option<HashSet<TurnId>>, cut: Cut, kept: &[Record]) -> Self {
        let count = u64::try_from(kept.len()).unwrap_or(u64::MAX);
        let last = cut.through.saturating_add(count);
        let mut past = Self { started_before, ended: cut.ended, kept: last, ..Self::default() };
        for record in kept {
            match serde_json::from_slice(&record.0) {
                Ok(Entry::TurnEnded { turn_id, .. }) => {
                    past.ended.insert(turn_id);
                }
                Ok(Entry::HarnessSession { id }) => past.harness_session = Some(id),
                Ok(
                    Entry::TurnStarted { .. } | Entry::Event { .. } | Entry::ActionResumed { .. },
                )
                | Err(_) => {}
            }
        }
        past
    }
}

#[cfg(test)]
mod tests {
    use platform_core::id::Id;
    use platform_core::turn::StopReason;
    use uuid::Uuid;

    use super::*;

    /// The first entry of epoch 1 is in the log.
    const TAKEN_FIRST: JournalMark = JournalMark { epoch: Epoch(1), through: 1 };

    /// Nothing is acknowledged, ever.
    fn none() -> watch::Receiver<u64> {
        watch::channel(0).1
    }

    fn turn(number: u128) -> TurnId {
        Id::from_uuid(Uuid::from_u128(number))
    }

    fn started(number: u128) -> Entry {
        Entry::TurnStarted { turn_id: turn(number) }
    }

    fn ended(number: u128) -> Entry {
        let stop_reason = StopReason::EndTurn;
        Entry::TurnEnded { turn_id: turn(number), stop_reason, message: None }
    }

    async fn take(written: &mut mpsc::Receiver<Vec<Written>>, count: usize) -> Vec<(u64, Entry)> {
        let mut taken = Vec::new();
        while taken.len() < count {
            for entry in written.recv().await.unwrap() {
                taken.push((entry.number, serde_json::from_slice(&entry.body).unwrap()));
            }
        }
        taken
    }

    #[tokio::test]
    async fn entries_are_numbered_from_one_in_the_order_they_came() {
        let folder = tempfile::tempdir().unwrap();
        let (sender, mut written) = mpsc::channel(1);
        let (journal, past) = Journal::open(folder.path(), Epoch(1), None, sender, none()).unwrap();
        assert_eq!(past, Past::default());
        journal.append(&started(1)).await.unwrap();
        journal.append_durably(&ended(1)).await.unwrap();
        assert_eq!(take(&mut written, 2).await, [(1, started(1)), (2, ended(1))]);
    }

    #[tokio::test]
    async fn a_second_process_of_an_epoch_goes_on_where_the_first_one_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let (sender, mut written) = mpsc::channel(1);
        let (journal, _) = Journal::open(folder.path(), Epoch(1), None, sender, none()).unwrap();
        journal.append_durably(&ended(1)).await.unwrap();
        take(&mut written, 1).await;

        let (sender, mut written) = mpsc::channel(1);
        let (journal, past) = Journal::open(folder.path(), Epoch(1), None, sender, none()).unwrap();
        assert_eq!(past.ended, HashSet::from([turn(1)]));
        journal.append(&started(2)).await.unwrap();
        assert_eq!(take(&mut written, 2).await, [(1, ended(1)), (2, started(2))]);
    }

    #[tokio::test]
    async fn a_later_epoch_starts_anew_and_knows_which_turns_were_started_before() {
        let folder = tempfile::tempdir().unwrap();
        let (sender, _written) = mpsc::channel(1);
        let (journal, _) = Journal::open(folder.path(), Epoch(1), None, sender, none()).unwrap();
        journal.append_durably(&started(1)).await.unwrap();

        let (sender, mut written) = mpsc::channel(1);
        let (journal, past) =
            Journal::open(folder.path(), Epoch(2), Some(TAKEN_FIRST), sender, none()).unwrap();
        assert_eq!(past.started_before, Some(HashSet::from([turn(1)])));
        journal.append(&started(2)).await.unwrap();
        assert_eq!(take(&mut written, 1).await, [(1, started(2))]);
    }

    #[tokio::test]
    async fn what_the_sandbox_before_wrote_and_nobody_took_is_told_first() {
        let folder = tempfile::tempdir().unwrap();
        let (sender, _written) = mpsc::channel(8);
        let (journal, _) = Journal::open(folder.path(), Epoch(1), None, sender, none()).unwrap();
        let name = Entry::HarnessSession { id: "ses_1".to_owned() };
        for entry in [&started(1), &name, &ended(1)] {
            journal.append_durably(entry).await.unwrap();
        }
        // Its successor dies before anything of it is taken.
        let (sender, _written) = mpsc::channel(1);
        Journal::open(folder.path(), Epoch(4), Some(TAKEN_FIRST), sender, none()).unwrap();

        let (sender, mut written) = mpsc::channel(1);
        let (_journal, past) =
            Journal::open(folder.path(), Epoch(7), Some(TAKEN_FIRST), sender, none()).unwrap();
        assert_eq!(take(&mut written, 2).await, [(1, name), (2, ended(1))]);
        assert_eq!(past.kept, 2);
        assert_eq!(past.harness_session.as_deref(), Some("ses_1"));
        assert_eq!(past.ended, HashSet::from([turn(1)]));

        let taken = Some(JournalMark { epoch: Epoch(7), through: 2 });
        let (sender, _written) = mpsc::channel(1);
        let (_journal, past) =
            Journal::open(folder.path(), Epoch(8), taken, sender, none()).unwrap();
        assert_eq!(past.kept, 0);
    }

    #[tokio::test]
    async fn acknowledged_entries_are_cut_off_and_the_numbers_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let (sender, mut written) = mpsc::channel(1);
        let (acknowledge, acknowledged) = watch::channel(0);
        let (journal, _) =
            Journal::open(folder.path(), Epoch(1), None, sender, acknowledged).unwrap();
        let large = Entry::HarnessSession { id: "x".repeat(3 * 1024 * 1024) };
        for number in 1..=4 {
            journal.append_durably(&large).await.unwrap();
            assert_eq!(take(&mut written, 1).await[0].0, number);
            acknowledge.send_replace(number);
        }
        let size = std::fs::metadata(folder.path().join("journal-1.log")).unwrap().len();
        assert!(size < 7 * 1024 * 1024, "{size}");

        let (sender, mut written) = mpsc::channel(1);
        let (_journal, past) =
            Journal::open(folder.path(), Epoch(1), None, sender, none()).unwrap();
        let left = take(&mut written, 1).await;
        assert!(left[0].0 > 1, "{}", left[0].0);
        assert_eq!(past.kept, 4);
    }

    #[tokio::test]
    async fn an_append_after_the_readers_end_is_refused_instead_of_lost() {
        let folder = tempfile::tempdir().unwrap();
        let (sender, written) = mpsc::channel(1);
        let (journal, _) = Journal::open(folder.path(), Epoch(1), None, sender, none()).unwrap();
        drop(written);
        journal.append_durably(&started(1)).await.unwrap();
        while journal.append(&started(2)).await.is_ok() {}
    }
}
