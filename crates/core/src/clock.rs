//! Time and identity as arguments, so that every rule can be tested at any moment.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use uuid::Uuid;

/// Tells the time. PostgreSQL keeps microseconds, so implementations answer whole microseconds.
pub trait Clock: Send + Sync {
    fn now(&self) -> DateTime<Utc>;
}

/// Mints identifiers: UUID version 7, so that they sort by the time of their making.
pub trait IdSource: Send + Sync {
    fn uuid(&self) -> Uuid;
}

/// Cuts a time to the microseconds that PostgreSQL keeps and the wire format shows.
pub fn to_microseconds(time: DateTime<Utc>) -> DateTime<Utc> {
    time.duration_trunc(TimeDelta::microseconds(1)).unwrap_or(time)
}
