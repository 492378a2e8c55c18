//! The ways in which the broker fails, as callers need to tell them apart.

use platform_core::failure::{Failure, FailureKind};

#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The address itself is never repeated: it carries a password.
    #[error(
        "the broker's address is not of the form amqp://user:password@host:port/vhost: {reason}"
    )]
    InvalidUrl { reason: String },
    #[error("the broker cannot be reached: {reason}")]
    Unavailable { reason: String },
    #[error("the broker refused")]
    Refused(#[from] lapin::Error),
}

impl BrokerError {
    pub(crate) fn closed() -> Self {
        Self::Unavailable { reason: "the connection was closed".to_owned() }
    }
}

impl Failure for BrokerError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::InvalidUrl { .. } => FailureKind::Internal,
            Self::Unavailable { .. } | Self::Refused(_) => FailureKind::Unavailable,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The broker did not confirm. The message may have arrived all the same, so send it again under the same id.
    #[error("the broker did not take the message: {reason}")]
    Unavailable { reason: String },
}

impl PublishError {
    pub(crate) fn from_broker(failure: &BrokerError) -> Self {
        Self::Unavailable { reason: describe(failure) }
    }

    pub(crate) fn from_client(failure: &lapin::Error) -> Self {
        Self::Unavailable { reason: describe(failure) }
    }

    pub(crate) fn because(reason: &str) -> Self {
        Self::Unavailable { reason: reason.to_owned() }
    }
}

impl Failure for PublishError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Unavailable { .. } => FailureKind::Unavailable,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The broker did not confirm the request. It may be carried out all the same, so ask again under the same id.
    #[error("the broker did not take the request: {reason}")]
    Unavailable { reason: String },
    /// The broker has the request, and it will be carried out, but no answer came in time (or its way back was lost).
    #[error("the request was taken, but no answer came in time")]
    TimedOut,
    /// No queue takes such requests: nothing will be carried out.
    #[error("nobody takes the request")]
    Unroutable,
}

impl From<PublishError> for RequestError {
    fn from(failure: PublishError) -> Self {
        match failure {
            PublishError::Unavailable { reason } => Self::Unavailable { reason },
        }
    }
}

impl Failure for RequestError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Unavailable { .. } | Self::TimedOut | Self::Unroutable => {
                FailureKind::Unavailable
            }
        }
    }
}

/// A failure with all its sources on one line.
pub(crate) fn describe(failure: &dyn std::error::Error) -> String {
    let mut line = failure.to_string();
    let mut source = failure.source();
    while let Some(cause) = source {
        let cause_line = cause.to_string();
        if !line.contains(&cause_line) {
            line = format!("{line}: {cause_line}");
        }
        source = cause.source();
    }
    line
}
