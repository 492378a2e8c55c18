//! The commands that this service carries out, one per file.

mod interrupt_turn;
mod provision_sandbox;
mod start_turn;
mod stop_sandbox;

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use platform_core::failure::Failure;
use platform_core::id::{InvalidId, SessionId, TeamId};
use platform_core::sandbox::Epoch;
use platform_messaging::proto::sandbox::SandboxCommand;
use platform_messaging::proto::sandbox::sandbox_command::Action;
use platform_messaging::{DecodeError, Incoming, PublishError, Verdict, decode};
use platform_storage::StorageError;

use crate::backend::BackendError;
use crate::ending::EndingError;
use crate::hydrate::HydrateError;
use crate::service::Service;

/// Whose sandbox a command is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject {
    pub(crate) team: TeamId,
    pub(crate) session: SessionId,
    pub(crate) epoch: Epoch,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("an id is none")]
    Id(#[from] InvalidId),
    #[error("what it carries cannot be read or noted")]
    Content(#[from] serde_json::Error),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Ending(#[from] EndingError),
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error(transparent)]
    Report(#[from] PublishError),
    #[error(transparent)]
    Hydrate(#[from] HydrateError),
}

impl CommandError {
    fn is_transient(&self) -> bool {
        match self {
            Self::Decode(_) | Self::Id(_) | Self::Content(_) => false,
            Self::Storage(error) => error.is_transient(),
            Self::Ending(error) => error.is_transient(),
            Self::Backend(_) | Self::Report(_) | Self::Hydrate(_) => true,
        }
    }
}

/// Carries out a command of `sandbox.commands`, which any replica may take.
pub async fn carry_out(service: &Arc<Service>, message: &Incoming) -> Verdict {
    verdict(provision_or_stop(service, message).await)
}

/// Carries out a command that was routed to the holder of a sandbox's link.
pub async fn carry_out_on_link(service: &Arc<Service>, message: &Incoming) -> Verdict {
    verdict(on_link(service, message).await)
}

async fn provision_or_stop(service: &Arc<Service>, message: &Incoming) -> Result<(), CommandError> {
    let command: SandboxCommand = decode(&message.body)?;
    let subject = Subject::of(&command)?;
    let _one_at_a_time = service.lock_session(subject.session).await;
    match command.action {
        Some(Action::Provision(provision)) => {
            provision_sandbox::provision_sandbox(service, subject, provision).await
        }
        Some(Action::Stop(stop)) => stop_sandbox::stop_sandbox(service, subject, stop).await,
        Some(Action::StartTurn(_) | Action::InterruptTurn(_)) | None => {
            tracing::warn!(command.id = command.command_id, "a command came to the wrong queue");
            Ok(())
        }
    }
}

async fn on_link(service: &Arc<Service>, message: &Incoming) -> Result<(), CommandError> {
    let command: SandboxCommand = decode(&message.body)?;
    match command.action {
        Some(Action::StartTurn(start)) => start_turn::start_turn(service, start).await,
        Some(Action::InterruptTurn(interrupt)) => {
            interrupt_turn::interrupt_turn(service, interrupt).await
        }
        Some(Action::Provision(_)) => {
            provision_sandbox::hydrate_claimed(service, Subject::of(&command)?).await
        }
        // Without an action it only asked whether anybody holds the link.
        Some(Action::Stop(_)) | None => Ok(()),
    }
}

fn verdict(outcome: Result<(), CommandError>) -> Verdict {
    match outcome {
        Ok(()) => Verdict::Done,
        Err(error) if error.is_transient() => {
            tracing::warn!(error = &error as &dyn Error, "a command is tried again");
            Verdict::Retry
        }
        Err(error) => {
            tracing::error!(error = &error as &dyn Error, "a command cannot be carried out");
            Verdict::DeadLetter
        }
    }
}

impl Subject {
    fn of(command: &SandboxCommand) -> Result<Self, InvalidId> {
        Ok(Self {
            team: command.team_id.parse()?,
            session: command.session_id.parse()?,
            epoch: Epoch(command.epoch),
        })
    }
}

/// One lock per session, for as long as somebody holds it or waits for it.
#[derive(Debug, Default)]
pub struct SessionLocks {
    locks: Mutex<HashMap<SessionId, Weak<tokio::sync::Mutex<()>>>>,
}

impl SessionLocks {
    pub async fn lock(&self, session: SessionId) -> tokio::sync::OwnedMutexGuard<()> {
        self.find(session).lock_owned().await
    }

    fn find(&self, session: SessionId) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(&session).and_then(Weak::upgrade) {
            return lock;
        }
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::default();
        locks.insert(session, Arc::downgrade(&lock));
        lock
    }
}
