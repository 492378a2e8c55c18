//! Pages of lists: a place in the order of creation, and what lies on either side.

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// A place in a list: just at this row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    pub created_at: DateTime<Utc>,
    pub id: Uuid,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    OldestFirst,
    #[default]
    NewestFirst,
}

/// Which rows of the list a page shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Position {
    #[default]
    Start,
    /// Those that follow the row, in the list's order.
    After(Cursor),
    /// Those that come before the row, in the list's order.
    Before(Cursor),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    pub position: Position,
    pub order: Order,
    pub limit: u32,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Where the next page begins (`After`), if there is more.
    pub next: Option<Cursor>,
    /// Where the page before ends (`Before`), if there is one.
    pub previous: Option<Cursor>,
}

/// Bounds on a time; each may be open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimeRange {
    pub after: Option<DateTime<Utc>>,
    pub from: Option<DateTime<Utc>>,
    pub before: Option<DateTime<Utc>>,
    pub until: Option<DateTime<Utc>>,
}

/// How the database walks through the list for a page: a page before a row is read backwards from that row.
pub(crate) struct Walk {
    pub(crate) past: Option<Cursor>,
    pub(crate) order: Order,
    /// One row more than the page holds, which tells whether there is a further page.
    pub(crate) limit: i64,
    request: PageRequest,
}

impl PageRequest {
    pub(crate) fn walk(self) -> Walk {
        let (past, order) = match self.position {
            Position::Start => (None, self.order),
            Position::After(cursor) => (Some(cursor), self.order),
            Position::Before(cursor) => (Some(cursor), self.order.reversed()),
        };
        Walk { past, order, limit: i64::from(self.limit) + 1, request: self }
    }
}

impl Order {
    fn reversed(self) -> Self {
        match self {
            Self::OldestFirst => Self::NewestFirst,
            Self::NewestFirst => Self::OldestFirst,
        }
    }
}

impl Walk {
    /// Makes the page of the rows that were met on the walk.
    pub(crate) fn page<T>(&self, mut met: Vec<T>, cursor: impl Fn(&T) -> Cursor) -> Page<T> {
        let page_size = usize::try_from(self.request.limit).unwrap_or(usize::MAX);
        let is_more_ahead = met.len() > page_size;
        met.truncate(page_size);
        let (is_more_before, is_more_after) = match self.request.position {
            Position::Start => (false, is_more_ahead),
            Position::After(_) => (true, is_more_ahead),
            Position::Before(_) => {
                met.reverse();
                (is_more_ahead, true)
            }
        };
        let next = if is_more_after { met.last().map(&cursor) } else { None };
        let previous = if is_more_before { met.first().map(&cursor) } else { None };
        Page { items: met, next, previous }
    }
}
