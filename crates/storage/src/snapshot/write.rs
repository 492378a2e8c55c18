//! Noting kept files.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::upsert::excluded;
use diesel_async::RunQueryDsl;
use platform_core::id::{SessionId, TeamId, TurnId};
use uuid::Uuid;

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

/// Notes a snapshot, in the place of an earlier one of the same turn.
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
        .on_conflict((snapshots::session_id, snapshots::turn_id))
        .do_update()
        .set((
            snapshots::host.eq(excluded(snapshots::host)),
            snapshots::files.eq(excluded(snapshots::files)),
            snapshots::new_bytes.eq(excluded(snapshots::new_bytes)),
            snapshots::created_at.eq(excluded(snapshots::created_at)),
        ))
        .execute(connection)
        .await?;
    Ok(())
}

/// Takes back what was noted of a turn.
pub async fn delete(
    connection: &mut Connection,
    team: TeamId,
    session: SessionId,
    turn: TurnId,
) -> Result<(), StorageError> {
    let noted = snapshots::table
        .filter(snapshots::team_id.eq(team.uuid()))
        .filter(snapshots::session_id.eq(session.uuid()))
        .filter(snapshots::turn_id.eq(turn.uuid()));
    diesel::delete(noted).execute(connection).await?;
    Ok(())
}

/// Takes back what was noted of all turns but these, of which the machine still has the files.
pub async fn retain(
    connection: &mut Connection,
    team: TeamId,
    session: SessionId,
    host: &str,
    turns: &[TurnId],
) -> Result<(), StorageError> {
    let kept: Vec<Uuid> = turns.iter().map(|turn| turn.uuid()).collect();
    let others = snapshots::table
        .filter(snapshots::team_id.eq(team.uuid()))
        .filter(snapshots::session_id.eq(session.uuid()))
        .filter(snapshots::host.eq(host))
        .filter(snapshots::turn_id.ne_all(kept));
    diesel::delete(others).execute(connection).await?;
    Ok(())
}
