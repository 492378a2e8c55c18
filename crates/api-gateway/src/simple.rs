//! The simple forms under `/api`: plain bodies, and behind them the same functions as under `/v1`.

pub mod agents;
pub mod messages;
pub mod sessions;

use serde::Serialize;

use crate::cursor::List;

/// The body of a list's answer.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SimpleList<T> {
    data: Vec<T>,
    next_cursor: Option<String>,
}

impl<T> From<List<T>> for SimpleList<T> {
    fn from(list: List<T>) -> Self {
        Self { data: list.data, next_cursor: list.next_page }
    }
}
