//! The journal: what happened in this epoch, on disk before anyone is told.

mod file;

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use platform_core::id::TurnId;
use platform_core::journal::Entry;
use platform_core::sandbox::Epoch;
use tokio::sync::{mpsc, oneshot};

use self::file::{JournalFile, Record};

/// Entries that may wait for the disk. When they do, the harness waits too.
const WAITING: usize = 64;

/// Entries that share one write to the disk, if so many came together.
const TOGETHER: usize = 64;

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
    /// Turns that this epoch has already ended: this process is not its first.
    pub(super) ended: HashSet<TurnId>,
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
    /// epoch first.
    pub(super) fn open(
        folder: &Path,
        epoch: Epoch,
        written: mpsc::Sender<Vec<Written>>,
    ) -> Result<(Self, Past), JournalError> {
        let opening = |source| JournalError::Open { folder: folder.to_owned(), source };
        let started_before = file::turns_started_before(folder, epoch).map_err(opening)?;
        let (file, kept) = JournalFile::open(folder, epoch).map_err(opening)?;
        let ended = kept.iter().filter_map(ended_turn).collect();

        let (appends, waiting) = mpsc::channel(WAITING);
        std::thread::Builder::new()
            .name("journal".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || write_all(file, kept, waiting, &written))
            .map_err(opening)?;
        Ok((Self { appends }, Past { started_before, ended }))
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
///
/// Ends when the journal is dropped, when nobody takes what is written any more, or when the disk refuses: the channel is then closed,
/// which the next append reports.
fn write_all(
    mut file: JournalFile,
    kept: Vec<Record>,
    mut waiting: mpsc::Receiver<Append>,
    written: &mpsc::Sender<Vec<Written>>,
) {
    let mut number = 0;
    let mut numbered = |body| {
        number += 1;
        Written { number, body }
    };
    let kept: Vec<Written> = kept.into_iter().map(|record| numbered(record.0)).collect();
    if !kept.is_empty() && written.blocking_send(kept).is_err() {
        return;
    }
    while let Some(first) = waiting.blocking_recv() {
        let mut together = vec![first];
        while together.len() < TOGETHER
            && let Ok(next) = waiting.try_recv()
        {
            together.push(next);
        }
        if let Err(error) = file.append(together.iter().map(|append| append.body.as_slice())) {
            tracing::error!(error = &error as &dyn std::error::Error, "the journal failed");
            return;
        }
        let mut entries = Vec::with_capacity(together.len());
        for append in together {
            if let Some(durable) = append.durable {
                durable.send(()).ok();
            }
            entries.push(numbered(append.body));
        }
        if written.blocking_send(entries).is_err() {
            return;
        }
    }
}

fn ended_turn(record: &Record) -> Option<TurnId> {
    match serde_json::from_slice(&record.0).ok()? {
        Entry::TurnEnded { turn_id, .. } => Some(turn_id),
        Entry::TurnStarted { .. } | Entry::Event { .. } | Entry::HarnessSession { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use platform_core::id::Id;
    use platform_core::turn::StopReason;
    use uuid::Uuid;

    use super::*;

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
        let (journal, past) = Journal::open(folder.path(), Epoch(1), sender).unwrap();
        assert_eq!(past, Past::default());
        journal.append(&started(1)).await.unwrap();
        journal.append_durably(&ended(1)).await.unwrap();
        assert_eq!(take(&mut written, 2).await, [(1, started(1)), (2, ended(1))]);
    }

    #[tokio::test]
    async fn a_second_process_of_an_epoch_goes_on_where_the_first_one_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let (sender, mut written) = mpsc::channel(1);
        let (journal, _) = Journal::open(folder.path(), Epoch(1), sender).unwrap();
        journal.append_durably(&ended(1)).await.unwrap();
        take(&mut written, 1).await;

        let (sender, mut written) = mpsc::channel(1);
        let (journal, past) = Journal::open(folder.path(), Epoch(1), sender).unwrap();
        assert_eq!(past.ended, HashSet::from([turn(1)]));
        journal.append(&started(2)).await.unwrap();
        assert_eq!(take(&mut written, 2).await, [(1, ended(1)), (2, started(2))]);
    }

    #[tokio::test]
    async fn a_later_epoch_starts_anew_and_knows_which_turns_were_started_before() {
        let folder = tempfile::tempdir().unwrap();
        let (sender, _written) = mpsc::channel(1);
        let (journal, _) = Journal::open(folder.path(), Epoch(1), sender).unwrap();
        journal.append_durably(&started(1)).await.unwrap();

        let (sender, mut written) = mpsc::channel(1);
        let (journal, past) = Journal::open(folder.path(), Epoch(2), sender).unwrap();
        assert_eq!(past.started_before, Some(HashSet::from([turn(1)])));
        journal.append(&started(2)).await.unwrap();
        assert_eq!(take(&mut written, 1).await, [(1, started(2))]);
    }

    #[tokio::test]
    async fn an_append_after_the_readers_end_is_refused_instead_of_lost() {
        let folder = tempfile::tempdir().unwrap();
        let (sender, written) = mpsc::channel(1);
        let (journal, _) = Journal::open(folder.path(), Epoch(1), sender).unwrap();
        drop(written);
        journal.append_durably(&started(1)).await.unwrap();
        while journal.append(&started(2)).await.is_ok() {}
    }
}
