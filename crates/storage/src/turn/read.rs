//! Finding turns.

use diesel::dsl::max;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use platform_core::id::{SessionId, TeamId, TurnId};
use platform_core::turn::Turn;

use super::row::TurnRow;
use crate::schema::turns;
use crate::{Connection, StorageError};

pub async fn find(
    connection: &mut Connection,
    team: TeamId,
    turn: TurnId,
) -> Result<Option<Turn>, StorageError> {
    TurnRow::query()
        .filter(turns::team_id.eq(team.uuid()))
        .filter(turns::id.eq(turn.uuid()))
        .first(connection)
        .await
        .optional()?
        .map(Turn::try_from)
        .transpose()
}

/// The session's turns that have not ended, in the order in which they run: the first is under way or next in line.
pub async fn open_turns(
    mut connection: &Connection,
    team: TeamId,
    session: SessionId,
) -> Result<Vec<Turn>, StorageError> {
    TurnRow::query()
        .filter(turns::team_id.eq(team.uuid()))
        .filter(turns::session_id.eq(session.uuid()))
        .filter(turns::state.ne("ended"))
        .order(turns::ordinal.asc())
        .load(&mut connection)
        .await?
        .into_iter()
        .map(Turn::try_from)
        .collect()
}

/// All turns whose message is among the session's first events, up to and with number `through`.
pub async fn opened_through(
    connection: &mut Connection,
    team: TeamId,
    session: SessionId,
    through: i64,
) -> Result<Vec<Turn>, StorageError> {
    TurnRow::query()
        .filter(turns::team_id.eq(team.uuid()))
        .filter(turns::session_id.eq(session.uuid()))
        .filter(turns::event_number.le(through))
        .order(turns::ordinal.asc())
        .load(connection)
        .await?
        .into_iter()
        .map(Turn::try_from)
        .collect()
}

/// The highest ordinal that the session ever gave; 0 when it had no turn.
pub async fn last_ordinal(
    mut connection: &Connection,
    team: TeamId,
    session: SessionId,
) -> Result<i64, StorageError> {
    let highest: Option<i64> = turns::table
        .filter(turns::team_id.eq(team.uuid()))
        .filter(turns::session_id.eq(session.uuid()))
        .select(max(turns::ordinal))
        .first(&mut connection)
        .await?;
    Ok(highest.unwrap_or(0))
}
