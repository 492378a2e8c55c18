//! Appending to a session's log.

use chrono::{DateTime, Utc};
use diesel_async::RunQueryDsl;
use platform_core::id::{SessionId, TeamId};
use platform_core::session::Event;

use super::row::EventRow;
use crate::schema::events;
use crate::{Connection, StorageError};

/// Rows per statement: PostgreSQL takes at most 65,535 parameters in one.
const BATCH: usize = 5_000;

/// Appends numbered events at `at`. The caller holds the session's lock and writes its `last_event` in the same transaction.
///
/// `processed_at` is not stored: readers work it out, because it changes for what waits in the queue.
pub async fn append(
    connection: &mut Connection,
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
        diesel::insert_into(events::table).values(rows).execute(connection).await?;
    }
    Ok(())
}
