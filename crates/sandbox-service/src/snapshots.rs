//! Keeps a session's files at the end of each turn, so that another session can go on from there.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use platform_core::egress::{Alarm, AlarmKind};
use platform_core::id::TurnId;
use platform_storage::{StorageError, snapshot as rows};

use crate::planted::Lookout;
use crate::reports::{self, Occupancy};
use crate::service::Service;

/// How long, beside the time that a snapshot may take, its row may: nobody waits longer for an end of a turn.
const ROW_WITHIN: Duration = Duration::from_secs(2);

/// What a snapshot may take of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotLimits {
    /// How long the end of a turn waits for it.
    pub within: Duration,
    /// Files, folders and links.
    pub most_files: u64,
    /// Of all files together.
    pub most_bytes: u64,
    /// Of all snapshots of one session together; the oldest ones go first.
    pub kept_bytes: u64,
}

impl Default for SnapshotLimits {
    fn default() -> Self {
        Self {
            within: Duration::from_secs(5),
            most_files: 200_000,
            most_bytes: 4 << 30,
            kept_bytes: 4 << 30,
        }
    }
}

/// A snapshot that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Files, folders and links.
    pub entries: u64,
    /// What was not stored already for an earlier turn.
    pub new_bytes: u64,
    /// What could not be read.
    pub left_out: u64,
    /// The turns whose files are kept, this one among them.
    pub turns: Vec<TurnId>,
}

/// Why there is no snapshot. The turn goes on without it.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("there are more than {0} files")]
    TooManyFiles(u64),
    #[error("the files are larger than {0} bytes together")]
    TooLarge(u64),
    #[error("folders lie more than {0} deep")]
    TooDeep(usize),
    #[error("it takes longer than {0:?}")]
    TooSlow(Duration),
    #[error("the database {0} is written to without a pause")]
    Busy(String),
    #[error("files at the end of a turn are not kept by this backend")]
    Unsupported,
    #[error("the disk is almost full")]
    NoRoom,
    #[error("{what} failed")]
    Disk { what: &'static str, source: std::io::Error },
    #[error("it broke off")]
    BrokenOff(#[source] tokio::task::JoinError),
}

impl SnapshotError {
    pub fn disk(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Disk { what, source }
    }
}

#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("the snapshot cannot be noted")]
    Storage(#[from] StorageError),
}

/// Keeps the session's files as they are now, as those at the end of the turn. May be repeated; whatever fails costs the snapshot and never the turn.
pub async fn keep(service: &Service, occupancy: &Occupancy, turn: TurnId) {
    if !service.backend().keeps_snapshots() {
        return;
    }
    let (session, began) = (occupancy.session, std::time::Instant::now());
    let within = service.backend().snapshot_within() + ROW_WITHIN;
    let failure: Box<dyn Error> =
        match tokio::time::timeout(within, take_and_note(service, occupancy, turn)).await {
            Ok(Ok(kept)) => {
                tracing::info!(
                    session.id = %session,
                    turn.id = %turn,
                    snapshot.entries = kept.entries,
                    snapshot.new_bytes = kept.new_bytes,
                    snapshot.left_out = kept.left_out,
                    snapshot.took = ?began.elapsed(),
                    "files kept"
                );
                return;
            }
            Ok(Err(error)) => error.into(),
            Err(elapsed) => elapsed.into(),
        };
    tracing::warn!(
        session.id = %session,
        turn.id = %turn,
        error = &*failure,
        "files were not kept: no session can go on from here"
    );
}

async fn take_and_note(
    service: &Service,
    occupancy: &Occupancy,
    turn: TurnId,
) -> Result<Kept, KeepError> {
    let Occupancy { team, session, .. } = *occupancy;
    let lookout = Arc::new(Lookout::new(service.planted().of(service, occupancy).await));
    let taken = service.backend().take_snapshot(session, turn, lookout.clone()).await;
    // Whatever became of the snapshot: one that fails must hide nothing.
    tell_of(service, occupancy, &lookout).await;
    let mut connection = service.database().connection().await?;
    let kept = match taken {
        Ok(kept) => kept,
        Err(error) => {
            // Of an earlier attempt.
            rows::delete(&mut connection, team, session, turn).await?;
            return Err(error.into());
        }
    };
    drop(connection);
    let snapshot = rows::Snapshot {
        team_id: team,
        session_id: session,
        turn_id: turn,
        host: service.host().to_owned(),
        files: kept.entries,
        new_bytes: kept.new_bytes,
        created_at: service.now(),
    };
    service
        .database()
        .transaction(async |connection| {
            rows::insert(connection, &snapshot).await?;
            rows::retain(connection, team, session, service.host(), &kept.turns).await
        })
        .await?;
    Ok(kept)
}

/// Raises the alarm when planted values stand in files that the session keeps.
async fn tell_of(service: &Service, occupancy: &Occupancy, lookout: &Lookout) {
    let seen = lookout.seen();
    if seen.is_empty() {
        return;
    }
    let files: Vec<_> = seen.iter().map(|file| file.to_string_lossy()).collect();
    let message = format!(
        "a planted value stands in {}: something copies files that it has no business with",
        files.join(", ")
    );
    let alarm = Alarm { kind: AlarmKind::HoneyValueSeen, message, host: None };
    if let Err(error) = reports::alarm(service, occupancy, &alarm).await {
        tracing::error!(
            session.id = %occupancy.session,
            error = &error as &dyn Error,
            "an alarm could not be told"
        );
    }
}
