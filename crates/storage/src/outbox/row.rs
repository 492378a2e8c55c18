//! Rows of `outbox`.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use uuid::Uuid;

use crate::schema::outbox;

/// A message as the broker will get it.
#[derive(Debug, Clone, PartialEq, Eq, HasQuery, Insertable)]
#[diesel(table_name = outbox)]
pub struct OutboxMessage {
    /// The command's id, by which a repeat is recognised.
    pub id: Uuid,
    /// The session it speaks of, if any.
    pub session_id: Option<Uuid>,
    pub exchange: String,
    pub routing_key: String,
    pub kind: String,
    /// Whether the sender wants to hear that nobody is there to take it.
    pub mandatory: bool,
    pub body: Vec<u8>,
    pub created_at: DateTime<Utc>,
}
