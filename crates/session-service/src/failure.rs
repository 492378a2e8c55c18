//! Why a command was not carried out.

use platform_core::conversation::Refusal;
use platform_core::failure::{Failure, FailureKind};
use platform_messaging::DecodeError;
use platform_messaging::proto::session::Refused;
use platform_storage::StorageError;

#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Understood and refused; the sender is told.
    #[error("the command is refused: {}", .0.message)]
    Refused(Refused),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("the command's content cannot be read")]
    Content(#[from] serde_json::Error),
    #[error("a stored answer cannot be read")]
    Answer(#[from] DecodeError),
}

impl CommandError {
    pub fn invalid(message: &str) -> Self {
        Self::refused(FailureKind::Invalid, "invalid_command", message)
    }

    /// The session does not exist in the sender's team.
    pub fn no_such_session() -> Self {
        Self::refused(FailureKind::NotFound, "session_not_found", "there is no such session")
    }

    fn refused(kind: FailureKind, code: &str, message: &str) -> Self {
        Self::Refused(Refused {
            kind: kind.as_word().to_owned(),
            code: code.to_owned(),
            message: message.to_owned(),
        })
    }
}

impl Failure for CommandError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Refused(refused) => refused.kind.parse().unwrap_or(FailureKind::Internal),
            Self::Storage(failure) => failure.kind(),
            Self::Content(_) | Self::Answer(_) => FailureKind::Internal,
        }
    }
}

impl From<Refusal> for CommandError {
    fn from(refusal: Refusal) -> Self {
        Self::refused(refusal.kind(), refusal.code(), &refusal.to_string())
    }
}
