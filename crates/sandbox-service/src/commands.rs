//! The commands that this service carries out, one per file.

mod answer_action;
mod interrupt_turn;
mod provision_sandbox;
mod start_turn;
mod stop_sandbox;

use std::error::Error;
use std::sync::Arc;

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
use crate::notes::NotesError;
use crate::service::Service;
use crate::session_locks::LockError;

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
    Lock(#[from] LockError),
    #[error(transparent)]
    Notes(#[from] NotesError),
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
            Self::Storage(error) | Self::Lock(LockError::Storage(error)) => error.is_transient(),
            Self::Notes(error) => error.is_transient(),
            Self::Ending(error) => error.is_transient(),
            Self::Lock(LockError::Busy | LockError::Lost | LockError::Unanswered)
            | Self::Backend(_)
            | Self::Report(_)
            | Self::Hydrate(_) => true,
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
    let work = async {
        match command.action {
            Some(Action::Provision(provision)) => {
                provision_sandbox::provision_sandbox(service, subject, provision).await
            }
            Some(Action::Stop(stop)) => stop_sandbox::stop_sandbox(service, subject, stop).await,
            Some(Action::StartTurn(_) | Action::InterruptTurn(_) | Action::AnswerAction(_))
            | None => {
                let id = command.command_id;
                tracing::warn!(command.id = id, "a command came to the wrong queue");
                Ok(())
            }
        }
    };
    service.session_locks().hold(service.database(), subject.session, Box::pin(work)).await
}

async fn on_link(service: &Arc<Service>, message: &Incoming) -> Result<(), CommandError> {
    let command: SandboxCommand = decode(&message.body)?;
    match command.action {
        Some(Action::StartTurn(start)) => start_turn::start_turn(service, start).await,
        Some(Action::InterruptTurn(interrupt)) => {
            interrupt_turn::interrupt_turn(service, interrupt).await
        }
        Some(Action::AnswerAction(answer)) => answer_action::answer_action(service, answer).await,
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
        Err(CommandError::Lock(LockError::Busy)) => Verdict::Retry,
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
