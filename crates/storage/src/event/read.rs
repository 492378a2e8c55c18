//! Reading a session's log.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;
use platform_core::id::{EventId, SessionId, TeamId};
use platform_core::session::Event;

use super::row::LoggedEvent;
use crate::schema::events;
use crate::{Connection, Order, StorageError, TimeRange};

/// Which of a session's events a list shows. The default shows all.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Wire names. Empty: every type.
    pub types: Vec<String>,
    /// When it was taken into the log.
    pub created: TimeRange,
    /// Only what follows the event of this number, in the list's order.
    pub past: Option<i64>,
    /// Nothing after the event of this number.
    pub through: Option<i64>,
}

/// At most `limit` events, in `order`.
pub async fn list(
    connection: &mut Connection,
    team: TeamId,
    session: SessionId,
    filter: &EventFilter,
    order: Order,
    limit: u32,
) -> Result<Vec<Event>, StorageError> {
    let mut query = LoggedEvent::query()
        .filter(events::team_id.eq(team.uuid()))
        .filter(events::session_id.eq(session.uuid()))
        .into_boxed();
    if !filter.types.is_empty() {
        query = query.filter(events::type_.eq_any(&filter.types));
    }
    if let Some(bound) = filter.created.after {
        query = query.filter(events::created_at.gt(bound));
    }
    if let Some(bound) = filter.created.from {
        query = query.filter(events::created_at.ge(bound));
    }
    if let Some(bound) = filter.created.before {
        query = query.filter(events::created_at.lt(bound));
    }
    if let Some(bound) = filter.created.until {
        query = query.filter(events::created_at.le(bound));
    }
    query = match order {
        Order::OldestFirst => query.order(events::number.asc()),
        Order::NewestFirst => query.order(events::number.desc()),
    };
    if let Some(number) = filter.past {
        query = match order {
            Order::OldestFirst => query.filter(events::number.gt(number)),
            Order::NewestFirst => query.filter(events::number.lt(number)),
        };
    }
    if let Some(number) = filter.through {
        query = query.filter(events::number.le(number));
    }
    into_events(query.limit(i64::from(limit)).load(connection).await?)
}

/// Events `from..=to` by number, oldest first.
pub async fn range(
    connection: &mut Connection,
    team: TeamId,
    session: SessionId,
    from: i64,
    to: i64,
) -> Result<Vec<Event>, StorageError> {
    let query = LoggedEvent::query()
        .filter(events::team_id.eq(team.uuid()))
        .filter(events::session_id.eq(session.uuid()))
        .filter(events::number.between(from, to))
        .order(events::number.asc());
    into_events(query.load(connection).await?)
}

/// Numbers of the events `from..=to`, oldest first, each with the bytes that its body takes in the database.
pub async fn sizes(
    connection: &mut Connection,
    team: TeamId,
    session: SessionId,
    from: i64,
    to: i64,
) -> Result<Vec<(i64, i64)>, StorageError> {
    let query = events::table
        .filter(events::team_id.eq(team.uuid()))
        .filter(events::session_id.eq(session.uuid()))
        .filter(events::number.between(from, to))
        .order(events::number.asc())
        .select((events::number, sql::<BigInt>("pg_column_size(body)::bigint")));
    Ok(query.load(connection).await?)
}

/// The events of these numbers, oldest first. Numbers that are not in the log are passed over.
pub async fn by_numbers(
    connection: &mut Connection,
    team: TeamId,
    session: SessionId,
    numbers: &[i64],
) -> Result<Vec<Event>, StorageError> {
    let query = LoggedEvent::query()
        .filter(events::team_id.eq(team.uuid()))
        .filter(events::session_id.eq(session.uuid()))
        .filter(events::number.eq_any(numbers))
        .order(events::number.asc());
    into_events(query.load(connection).await?)
}

/// The events of these ids, oldest first. Ids that are not in the log are passed over.
pub async fn by_ids(
    connection: &mut Connection,
    team: TeamId,
    session: SessionId,
    ids: &[EventId],
) -> Result<Vec<Event>, StorageError> {
    let ids: Vec<_> = ids.iter().map(|id| id.uuid()).collect();
    let query = LoggedEvent::query()
        .filter(events::team_id.eq(team.uuid()))
        .filter(events::session_id.eq(session.uuid()))
        .filter(events::id.eq_any(ids))
        .order(events::number.asc());
    into_events(query.load(connection).await?)
}

fn into_events(rows: Vec<LoggedEvent>) -> Result<Vec<Event>, StorageError> {
    rows.into_iter().map(LoggedEvent::into_event).collect()
}
