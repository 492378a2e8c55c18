//! The closed set of ways in which a request can fail, as its caller sees them.

use std::fmt;
use std::str::FromStr;

/// How a caller sees a failure. One place per edge turns it into that edge's own form (HTTP status, broker verdict).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    Invalid,
    Unauthenticated,
    Forbidden,
    NotFound,
    Conflict,
    TooLarge,
    RateLimited,
    Unavailable,
    Internal,
}

impl FailureKind {
    /// The word that travels between services.
    pub fn as_word(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::TooLarge => "too_large",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_word())
    }
}

/// A word that names no kind of failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no kind of failure")]
pub struct UnknownFailureKind(String);

impl FromStr for FailureKind {
    type Err = UnknownFailureKind;

    fn from_str(word: &str) -> Result<Self, UnknownFailureKind> {
        match word {
            "invalid" => Ok(Self::Invalid),
            "unauthenticated" => Ok(Self::Unauthenticated),
            "forbidden" => Ok(Self::Forbidden),
            "not_found" => Ok(Self::NotFound),
            "conflict" => Ok(Self::Conflict),
            "too_large" => Ok(Self::TooLarge),
            "rate_limited" => Ok(Self::RateLimited),
            "unavailable" => Ok(Self::Unavailable),
            "internal" => Ok(Self::Internal),
            other => Err(UnknownFailureKind(other.to_owned())),
        }
    }
}

/// What every error of a library of ours can tell the one who answers the caller.
pub trait Failure: std::error::Error + 'static {
    fn kind(&self) -> FailureKind;

    /// Whether the same request may succeed later, unchanged.
    fn is_transient(&self) -> bool {
        matches!(self.kind(), FailureKind::Unavailable)
    }
}
