//! Storing turns as they move.

use diesel::prelude::*;
use diesel::upsert::excluded;
use diesel_async::RunQueryDsl;
use platform_core::id::{SessionId, TeamId};
use platform_core::turn::Turn;

use super::row::TurnRow;
use crate::prepared::{FEW_ROWS, Prepared};
use crate::schema::turns;
use crate::{Connection, StorageError};

/// Stores new turns and the present state of known ones. The caller holds the session's lock.
pub async fn save<'turns>(
    mut connection: &Connection,
    team: TeamId,
    session: SessionId,
    turns: impl IntoIterator<Item = &'turns Turn>,
) -> Result<(), StorageError> {
    let rows = turns
        .into_iter()
        .map(|turn| TurnRow::new(team, session, turn))
        .collect::<Result<Vec<_>, _>>()?;
    if rows.is_empty() {
        return Ok(());
    }
    let is_usual = rows.len() <= FEW_ROWS;
    let save =
        diesel::insert_into(turns::table).values(rows).on_conflict(turns::id).do_update().set((
            turns::state.eq(excluded(turns::state)),
            turns::epoch.eq(excluded(turns::epoch)),
            turns::attempts.eq(excluded(turns::attempts)),
            turns::stop_reason.eq(excluded(turns::stop_reason)),
            turns::started_at.eq(excluded(turns::started_at)),
            turns::ended_at.eq(excluded(turns::ended_at)),
            turns::interrupt_requested.eq(excluded(turns::interrupt_requested)),
            turns::actions.eq(excluded(turns::actions)),
        ));
    if is_usual {
        Prepared(save).execute(&mut connection).await?;
    } else {
        save.execute(&mut connection).await?;
    }
    Ok(())
}
