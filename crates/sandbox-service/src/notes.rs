//! What this service notes down about a sandbox beside its row's columns, so that a successor can take it over.

use std::path::PathBuf;

use platform_core::failure::Failure;
use platform_core::id::SandboxId;
use platform_core::sandbox::{Sandbox, SessionSpec};
use platform_storage::{Database, StorageError, sandbox as rows};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The content of a sandbox's `detail`. Unknown fields of a newer version are ignored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Notes {
    /// What Hydrate hands over; absent while no session has claimed the sandbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_spec: Option<SessionSpec>,
    /// The replica that starts the sandbox or holds its link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica: Option<String>,
    /// Where vault-proxy listens for it, so that it finds the place again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress_socket: Option<PathBuf>,
    /// What vault-proxy signs for it with (PEM), so that it goes on to do so.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub egress_authority: String,
    /// How often its start ran out of time.
    pub failed_starts: u32,
    /// Which limits the kernel holds it to, and how.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub limits: Value,
    /// Why it is being stopped, when nobody asked for it: to be reported once it is gone for certain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<Loss>,
}

/// Why a sandbox was lost, as session-service is to hear it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Stable word, as in `ReportLoss`.
    pub reason: String,
    /// A sentence that a person can act on.
    pub message: String,
    /// Whether a further attempt may succeed.
    pub may_retry: bool,
    #[serde(skip)]
    pub is_sudden: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum NotesError {
    #[error("the sandbox's row cannot be changed")]
    Storage(#[from] StorageError),
    #[error("the sandbox's notes cannot be written")]
    Notes(#[from] serde_json::Error),
}

impl NotesError {
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Storage(error) => error.is_transient(),
            Self::Notes(_) => false,
        }
    }
}

/// Changes the notes on a sandbox, if `change` finds them worth changing; of two that change them at once neither is lost. Answers
/// the changed row.
pub async fn change(
    database: &Database,
    sandbox: SandboxId,
    change: impl FnOnce(&Sandbox, &mut Notes) -> bool,
) -> Result<Option<Sandbox>, NotesError> {
    database
        .transaction(async |connection| {
            let Some(mut row) = rows::find_for_update(connection, sandbox).await? else {
                return Ok(None);
            };
            let mut notes = Notes::of(&row);
            if !change(&row, &mut notes) {
                return Ok(None);
            }
            row.detail = notes.to_value()?;
            rows::set_detail(connection, sandbox, &row.detail).await?;
            Ok(Some(row))
        })
        .await
}

impl Loss {
    pub fn new(reason: &str, message: impl Into<String>) -> Self {
        Self {
            reason: reason.to_owned(),
            message: message.into(),
            may_retry: true,
            is_sudden: false,
        }
    }

    /// What it does harms others: it gets no time to end by itself.
    #[must_use]
    pub fn sudden(mut self) -> Self {
        self.is_sudden = true;
        self
    }

    /// Another attempt would fail in the same way.
    #[must_use]
    pub fn for_good(mut self) -> Self {
        self.may_retry = false;
        self
    }
}

impl Notes {
    /// Notes that cannot be read are as good as none: the sandbox will be stopped, not guessed at.
    pub fn of(sandbox: &Sandbox) -> Self {
        Self::deserialize(&sandbox.detail).unwrap_or_else(|error| {
            tracing::error!(sandbox.id = %sandbox.id, %error, "the notes on a sandbox are unreadable");
            Self::default()
        })
    }

    pub fn to_value(&self) -> Result<Value, serde_json::Error> {
        serde_json::to_value(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_read_back_what_was_written() {
        let notes = Notes {
            replica: Some("12-ab".to_owned()),
            failed_starts: 1,
            loss: Some(Loss::new("exited", "it ended").for_good()),
            ..Notes::default()
        };
        assert_eq!(Notes::deserialize(notes.to_value().unwrap()).unwrap(), notes);
    }
}
