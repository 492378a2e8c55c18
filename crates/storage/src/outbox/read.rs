//! Finding what a crash left unpublished.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::row::OutboxMessage;
use crate::schema::outbox;
use crate::{Connection, StorageError};

/// Messages put before `before`, in the order in which they were put. Each stays locked until the transaction ends and is passed over by others
/// meanwhile, so publish and [`delete`](super::delete) them in that transaction. Of all teams: this is the sweep.
pub async fn take_unsent(
    connection: &mut Connection,
    before: DateTime<Utc>,
    limit: u32,
) -> Result<Vec<OutboxMessage>, StorageError> {
    let messages = OutboxMessage::query()
        .filter(outbox::created_at.lt(before))
        .order(outbox::sequence.asc())
        .limit(i64::from(limit))
        .for_update()
        .skip_locked()
        .load(connection)
        .await?;
    Ok(messages)
}
