//! Finding what a crash left unpublished.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::row::OutboxMessage;
use crate::schema::outbox;
use crate::{Connection, StorageError};

/// What a sweep leaves where it is for now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PassedOver {
    pub messages: Vec<Uuid>,
    /// Everything of these sessions: what comes behind a message that could not be sent waits for it.
    pub sessions: Vec<Uuid>,
}

/// Messages put before `before`, in the order in which they were put. Each stays locked until the transaction ends and is passed over by others
/// meanwhile, so publish and [`delete`](super::delete) them in that transaction. Of all teams: this is the sweep.
pub async fn take_unsent(
    connection: &mut Connection,
    before: DateTime<Utc>,
    limit: u32,
) -> Result<Vec<OutboxMessage>, StorageError> {
    take_unsent_beside(connection, &PassedOver::default(), before, limit).await
}

/// As [`take_unsent`], without what is passed over.
pub async fn take_unsent_beside(
    connection: &mut Connection,
    passed_over: &PassedOver,
    before: DateTime<Utc>,
    limit: u32,
) -> Result<Vec<OutboxMessage>, StorageError> {
    let is_free = outbox::session_id.ne_all(&passed_over.sessions);
    let messages = OutboxMessage::query()
        .filter(outbox::created_at.lt(before))
        .filter(outbox::id.ne_all(&passed_over.messages))
        .filter(outbox::session_id.is_null().or(is_free))
        .order(outbox::sequence.asc())
        .limit(i64::from(limit))
        .for_update()
        .skip_locked()
        .load(connection)
        .await?;
    Ok(messages)
}
