//! The log as streams replay it: piece by piece, none of them too large to keep in memory for every reader.

use platform_core::id::SessionId;
use platform_core::session::Event;
use platform_storage::{StorageError, event};

use crate::caller::Caller;
use crate::platform::Platform;

/// Events that are read at a time, and bytes of them as PostgreSQL stores them, which compresses.
const MOST: i64 = 500;
const MOST_BYTES: i64 = 1024 * 1024;

/// Events in the order of their numbers.
pub struct Piece {
    pub events: Vec<Event>,
    /// There was more when it was read.
    pub is_more: bool,
}

/// Reads what follows the event of number `after`.
pub async fn read_after(
    platform: &Platform,
    caller: Caller,
    session: SessionId,
    after: i64,
) -> Result<Piece, StorageError> {
    let mut connection = platform.database.connection().await?;
    let (team, from) = (caller.team(), after + 1);
    let sizes = event::sizes(&mut connection, team, session, from, after + MOST).await?;
    let Some(to) = last_that_fits(&sizes) else {
        return Ok(Piece { events: Vec::new(), is_more: false });
    };
    let is_more = to == after + MOST || sizes.last().is_some_and(|(last, _)| *last > to);
    let events = event::range(&mut connection, team, session, from, to).await?;
    Ok(Piece { events, is_more })
}

/// At least one, so that every reader gets on.
fn last_that_fits(sizes: &[(i64, i64)]) -> Option<i64> {
    let (first, rest) = sizes.split_first()?;
    let (mut last, mut sum) = *first;
    for (number, bytes) in rest {
        sum += bytes;
        if sum > MOST_BYTES {
            break;
        }
        last = *number;
    }
    Some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_has_at_least_one_event_and_no_more_than_fits() {
        let half = MOST_BYTES / 2;
        assert_eq!(last_that_fits(&[]), None);
        assert_eq!(last_that_fits(&[(4, 10 * MOST_BYTES), (5, 1)]), Some(4));
        assert_eq!(last_that_fits(&[(4, half), (5, half), (6, 1)]), Some(5));
        assert_eq!(last_that_fits(&[(4, 1), (5, 1)]), Some(5));
    }
}
