//! Values of columns: what the domain knows as a type and PostgreSQL as JSON, a word or a plain number.

use std::error::Error;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::StorageError;

pub(crate) fn from_json<T: DeserializeOwned>(
    column: &'static str,
    value: Value,
) -> Result<T, StorageError> {
    serde_json::from_value(value).map_err(|error| unreadable(column, error))
}

pub(crate) fn to_json<T: Serialize>(
    column: &'static str,
    value: &T,
) -> Result<Value, StorageError> {
    serde_json::to_value(value).map_err(|source| StorageError::Unwritable { column, source })
}

/// Reads a word of a closed set.
pub(crate) fn from_word<T>(
    column: &'static str,
    word: &str,
    known: impl Fn(&str) -> Option<T>,
) -> Result<T, StorageError> {
    known(word).ok_or_else(|| unreadable(column, format!("unknown word {word:?}")))
}

/// Counts are unsigned in the domain and never near the end of PostgreSQL's signed range.
pub(crate) fn to_bigint(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(crate) fn from_bigint(column: &'static str, count: i64) -> Result<u64, StorageError> {
    u64::try_from(count).map_err(|error| unreadable(column, error))
}

pub(crate) fn unreadable(
    column: &'static str,
    source: impl Into<Box<dyn Error + Send + Sync>>,
) -> StorageError {
    StorageError::Unreadable { column, source: source.into() }
}
