//! Rows of `events` and what they mean.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use platform_core::id::{Id, SessionId, TeamId};
use platform_core::session::{Event, EventBody};
use serde_json::Value;
use uuid::Uuid;

use crate::StorageError;
use crate::column::{from_json, to_json, unreadable};
use crate::schema::{events, turns};

#[derive(HasQuery, Insertable)]
#[diesel(table_name = events)]
pub(super) struct EventRow {
    session_id: Uuid,
    number: i64,
    team_id: Uuid,
    id: Uuid,
    type_: String,
    turn_id: Option<Uuid>,
    body: Value,
    created_at: DateTime<Utc>,
}

/// An event together with the time at which its turn began.
#[derive(HasQuery)]
#[diesel(table_name = events)]
#[diesel(base_query = events::table.left_join(turns::table.on(events::turn_id.eq(turns::id.nullable()))))]
pub(super) struct LoggedEvent {
    #[diesel(embed)]
    event: EventRow,
    #[diesel(select_expression = turns::started_at.nullable())]
    turn_started_at: Option<DateTime<Utc>>,
}

impl EventRow {
    pub(super) fn new(
        team: TeamId,
        session: SessionId,
        event: &Event,
        at: DateTime<Utc>,
    ) -> Result<Self, StorageError> {
        let mut body = to_json("events.body", &event.body)?;
        if let Value::Object(fields) = &mut body {
            // It has a column of its own.
            fields.shift_remove("type");
        }
        Ok(Self {
            session_id: session.uuid(),
            number: event.number,
            team_id: team.uuid(),
            id: event.id.uuid(),
            type_: event.body.type_name().to_owned(),
            turn_id: event.turn_id.map(Id::uuid),
            body,
            created_at: at,
        })
    }
}

impl LoggedEvent {
    pub(super) fn into_event(self) -> Result<Event, StorageError> {
        let Self { event: row, turn_started_at } = self;
        let Value::Object(mut fields) = row.body else {
            return Err(unreadable("events.body", "no object"));
        };
        fields.insert("type".to_owned(), Value::String(row.type_));
        let body: EventBody = from_json("events.body", Value::Object(fields))?;
        // An answer is processed when it comes: its turn waits for it.
        let waits_for_its_turn =
            matches!(body, EventBody::UserMessage { .. }) && row.turn_id.is_some();
        let processed_at = if waits_for_its_turn { turn_started_at } else { Some(row.created_at) };
        Ok(Event {
            id: Id::from_uuid(row.id),
            number: row.number,
            turn_id: row.turn_id.map(Id::from_uuid),
            processed_at,
            body,
        })
    }
}
