//! Putting messages into the outbox, and removing the published ones.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::row::OutboxMessage;
use crate::prepared::{FEW_ROWS, Prepared};
use crate::schema::outbox;
use crate::{Connection, StorageError};

/// Stores messages that leave after the commit, in this order.
pub async fn put(
    connection: &mut Connection,
    messages: &[OutboxMessage],
) -> Result<(), StorageError> {
    if messages.is_empty() {
        return Ok(());
    }
    let insert = diesel::insert_into(outbox::table).values(messages);
    if messages.len() <= FEW_ROWS {
        Prepared(insert).execute(connection).await?;
    } else {
        insert.execute(connection).await?;
    }
    Ok(())
}

/// Removes messages that the broker has confirmed.
pub async fn delete(connection: &mut Connection, ids: &[Uuid]) -> Result<(), StorageError> {
    diesel::delete(outbox::table).filter(outbox::id.eq_any(ids)).execute(connection).await?;
    Ok(())
}
