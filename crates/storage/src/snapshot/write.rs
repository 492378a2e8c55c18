//! Noting kept files.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use platform_core::id::{SessionId, TeamId, TurnId};

use crate::column::to_bigint;
use crate::schema::workspace_snapshots as snapshots;
use crate::{Connection, StorageError};

/// The files of a session as they were at the end of one of its turns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub team_id: TeamId,
    pub session_id: SessionId,
    pub turn_id: TurnId,
    /// The machine that has the files (local backend).
    pub host: String,
    pub files: u64,
    /// What was not stored already for an earlier turn.
    pub new_bytes: u64,
    pub created_at: DateTime<Utc>,
}

/// Notes a snapshot. One that is known already stays as it is.
pub async fn insert(connection: &mut Connection, snapshot: &Snapshot) -> Result<(), StorageError> {
    diesel::insert_into(snapshots::table)
        .values((
            snapshots::session_id.eq(snapshot.session_id.uuid()),
            snapshots::turn_id.eq(snapshot.turn_id.uuid()),
            snapshots::team_id.eq(snapshot.team_id.uuid()),
            snapshots::host.eq(&snapshot.host),
            snapshots::files.eq(to_bigint(snapshot.files)),
            snapshots::new_bytes.eq(to_bigint(snapshot.new_bytes)),
            snapshots::created_at.eq(snapshot.created_at),
        ))
        .on_conflict_do_nothing()
        .execute(connection)
        .await?;
    Ok(())
}
