//! Looking for kept files.

use diesel::dsl::{exists as row_exists, select};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use platform_core::id::{SessionId, TeamId, TurnId};

use crate::schema::workspace_snapshots as snapshots;
use crate::{Connection, StorageError};

/// Whether the files at the end of the turn are kept.
pub async fn exists(
    connection: &mut Connection,
    team: TeamId,
    session: SessionId,
    turn: TurnId,
) -> Result<bool, StorageError> {
    let kept = snapshots::table
        .filter(snapshots::team_id.eq(team.uuid()))
        .filter(snapshots::session_id.eq(session.uuid()))
        .filter(snapshots::turn_id.eq(turn.uuid()));
    Ok(select(row_exists(kept)).get_result(connection).await?)
}
