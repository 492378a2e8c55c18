//! Appending to a session's log, and beginning one with a copy.

use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, BigInt, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use platform_core::id::{SessionId, TeamId, TurnId};
use platform_core::session::Event;

use super::row::EventRow;
use crate::prepared::{FEW_ROWS, Prepared};
use crate::schema::events;
use crate::{Connection, StorageError};

/// Rows per statement: PostgreSQL takes at most 65,535 parameters in one.
const BATCH: usize = 5_000;

/// Appends numbered events at `at`. The caller holds the session's lock and writes its `last_event` in the same transaction.
///
/// `processed_at` is not stored: readers work it out, because it changes for what waits in the queue.
pub async fn append(
    mut connection: &Connection,
    team: TeamId,
    session: SessionId,
    at: DateTime<Utc>,
    events: &[Event],
) -> Result<(), StorageError> {
    for batch in events.chunks(BATCH) {
        let rows = batch
            .iter()
            .map(|event| EventRow::new(team, session, event, at))
            .collect::<Result<Vec<_>, _>>()?;
        let is_usual = rows.len() <= FEW_ROWS;
        let insert = diesel::insert_into(events::table).values(rows);
        if is_usual {
            Prepared(insert).execute(&mut connection).await?;
        } else {
            insert.execute(&mut connection).await?;
        }
    }
    Ok(())
}

/// Copies the first events of a session, up to and with number `through`, to a session of the same team that has none. `turns` says
/// what the turns are called there and here.
pub async fn copy(
    connection: &mut Connection,
    team: TeamId,
    from: SessionId,
    through: i64,
    to: SessionId,
    turns: &[(TurnId, TurnId)],
) -> Result<(), StorageError> {
    let (there, here): (Vec<_>, Vec<_>) =
        turns.iter().map(|(there, here)| (there.uuid(), here.uuid())).unzip();
    diesel::sql_query(
        "insert into events (session_id, number, team_id, id, type, turn_id, body, created_at)
         select $1, event.number, event.team_id, event.id, event.type, turn.here, event.body, event.created_at
         from events event
         left join unnest($2, $3) as turn (there, here) on turn.there = event.turn_id
         where event.team_id = $4 and event.session_id = $5 and event.number <= $6",
    )
    .bind::<SqlUuid, _>(to.uuid())
    .bind::<Array<SqlUuid>, _>(there)
    .bind::<Array<SqlUuid>, _>(here)
    .bind::<SqlUuid, _>(team.uuid())
    .bind::<SqlUuid, _>(from.uuid())
    .bind::<BigInt, _>(through)
    .execute(connection)
    .await?;
    Ok(())
}
