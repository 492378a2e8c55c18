//! Opening, changing and deleting sessions.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use platform_core::id::{SessionId, TeamId};
use platform_core::session::Session;

use super::row::{DescriptionColumns, SessionRow, StateColumns};
use crate::prepared::Prepared;
use crate::schema::sessions;
use crate::{Connection, StorageError};

/// Stores a new session in `session.team_id`.
///
/// Answers false, with nothing stored and the transaction still usable, when the id is taken or the context has a live session already.
pub async fn insert(connection: &mut Connection, session: &Session) -> Result<bool, StorageError> {
    let inserted = diesel::insert_into(sessions::table)
        .values(SessionRow::try_from(session)?)
        .on_conflict_do_nothing()
        .execute(connection)
        .await?;
    Ok(inserted == 1)
}

/// Writes everything that can change in a session. The caller holds its lock.
pub async fn update(mut connection: &Connection, session: &Session) -> Result<(), StorageError> {
    let columns = (StateColumns::try_from(session)?, DescriptionColumns::try_from(session)?);
    let updated = diesel::update(sessions::table)
        .filter(sessions::team_id.eq(session.team_id.uuid()))
        .filter(sessions::id.eq(session.id.uuid()))
        .set(columns)
        .execute(&mut connection)
        .await?;
    if updated == 1 { Ok(()) } else { Err(StorageError::NotFound("session")) }
}

/// Writes what moves with the conversation, but neither title, metadata nor agent, which can be long. The caller holds the lock.
pub async fn update_state(
    mut connection: &Connection,
    session: &Session,
) -> Result<(), StorageError> {
    let update = diesel::update(sessions::table)
        .filter(sessions::team_id.eq(session.team_id.uuid()))
        .filter(sessions::id.eq(session.id.uuid()))
        .set(StateColumns::try_from(session)?);
    let updated = Prepared(update).execute(&mut connection).await?;
    if updated == 1 { Ok(()) } else { Err(StorageError::NotFound("session")) }
}

/// Removes the session with its turns and events. Answers whether it existed.
pub async fn delete(
    connection: &mut Connection,
    team: TeamId,
    session: SessionId,
) -> Result<bool, StorageError> {
    let deleted = diesel::delete(sessions::table)
        .filter(sessions::team_id.eq(team.uuid()))
        .filter(sessions::id.eq(session.uuid()))
        .execute(connection)
        .await?;
    Ok(deleted == 1)
}
