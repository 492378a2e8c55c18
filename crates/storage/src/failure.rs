//! Why storage could not do what it was asked.

use std::error::Error;

use diesel::result::{DatabaseErrorInformation, DatabaseErrorKind, Error as DieselError};
use platform_core::failure::{Failure, FailureKind};

/// An operation on the database failed and stored nothing; only `Unavailable` at a commit leaves open whether it did, so repeats carry the
/// same ids.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// PostgreSQL cannot be reached, broke the connection off, or gave way to another transaction.
    #[error("the database cannot serve this now")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    #[error("no database connection became free in time")]
    NoFreeConnection,
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// A row with this identity exists already. Carries the name of the constraint.
    #[error("what has to be unique exists already ({0})")]
    AlreadyExists(String),
    /// The row that this one belongs to does not exist. Carries the name of the constraint.
    #[error("what it belongs to does not exist ({0})")]
    MissingParent(String),
    #[error("it is still in use by a {0}")]
    InUse(&'static str),
    #[error("it is at version {current} by now")]
    StaleVersion { current: i32 },
    /// PostgreSQL's text cannot hold U+0000.
    #[error("text may not contain the character U+0000")]
    UnstorableText,
    /// A stored value is not of the shape that this version knows.
    #[error("column {column} holds what cannot be read")]
    Unreadable { column: &'static str, source: Box<dyn Error + Send + Sync> },
    #[error("the value cannot be written into column {column}")]
    Unwritable { column: &'static str, source: serde_json::Error },
    #[error("the database refused the statement")]
    Refused(#[source] DieselError),
}

impl Failure for StorageError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Unavailable(_) | Self::NoFreeConnection => FailureKind::Unavailable,
            Self::NotFound(_) | Self::MissingParent(_) => FailureKind::NotFound,
            Self::AlreadyExists(_) | Self::InUse(_) | Self::StaleVersion { .. } => {
                FailureKind::Conflict
            }
            Self::UnstorableText => FailureKind::Invalid,
            Self::Unreadable { .. } | Self::Unwritable { .. } | Self::Refused(_) => {
                FailureKind::Internal
            }
        }
    }
}

impl From<DieselError> for StorageError {
    fn from(error: DieselError) -> Self {
        if matches!(error, DieselError::NotFound) {
            return Self::NotFound("row");
        }
        if matches!(error, DieselError::BrokenTransactionManager) {
            return Self::Unavailable(Box::new(error));
        }
        let DieselError::DatabaseError(kind, information) = &error else {
            return Self::Refused(error);
        };
        let constraint = || information.constraint_name().unwrap_or("unnamed").to_owned();
        if matches!(kind, DatabaseErrorKind::UniqueViolation) {
            Self::AlreadyExists(constraint())
        } else if matches!(kind, DatabaseErrorKind::ForeignKeyViolation) {
            Self::MissingParent(constraint())
        } else if is_broken_off(*kind) || is_passing(information.as_ref()) {
            Self::Unavailable(Box::new(error))
        } else if is_about_nul(information.as_ref()) {
            Self::UnstorableText
        } else {
            Self::Refused(error)
        }
    }
}

fn is_broken_off(kind: DatabaseErrorKind) -> bool {
    matches!(
        kind,
        DatabaseErrorKind::UnableToSendCommand
            | DatabaseErrorKind::ClosedConnection
            | DatabaseErrorKind::SerializationFailure
            | DatabaseErrorKind::ReadOnlyTransaction
    )
}

/// Whether PostgreSQL ended the statement for a reason that goes away: shutdown, recovery, a deadlock, too many connections.
///
/// diesel keeps no SQLSTATE, so PostgreSQL's own words have to do (they are English unless `lc_messages` says otherwise).
fn is_passing(information: &dyn DatabaseErrorInformation) -> bool {
    const BEGINNINGS: [&str; 6] = [
        "terminating connection",
        "the database system is",
        "deadlock detected",
        "canceling statement due to lock timeout",
        "sorry, too many clients already",
        "remaining connection slots are reserved",
    ];
    BEGINNINGS.iter().any(|beginning| information.message().starts_with(beginning))
}

fn is_about_nul(information: &dyn DatabaseErrorInformation) -> bool {
    let message = information.message();
    message.starts_with("unsupported Unicode escape sequence")
        || message.starts_with("invalid byte sequence for encoding \"UTF8\": 0x00")
}
