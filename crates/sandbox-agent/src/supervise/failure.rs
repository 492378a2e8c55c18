//! Why a sandbox cannot go on.

use std::error::Error;

use platform_messaging::proto::link::Failed;

use super::command::InvalidCommand;
use super::harness::HarnessError;
use super::journal::JournalError;
use super::room::RoomError;
use super::way_out::WayOutError;

#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("the harness could not be started")]
    Start(#[source] HarnessError),
    #[error("the harness ended and could not be taken up again")]
    Restart(#[source] HarnessError),
    #[error(transparent)]
    Room(#[from] RoomError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("a command of the platform cannot be understood")]
    Command(#[from] InvalidCommand),
    #[error("there is no way out")]
    WayOut(#[from] WayOutError),
}

/// What the platform is told: its word for the failure, and everything known about it in one sentence.
pub(super) fn frame(failure: &Failure) -> Failed {
    let reason = match failure {
        Failure::Start(_) | Failure::Command(_) | Failure::WayOut(_) => "start_failed",
        Failure::Restart(_) | Failure::Room(_) | Failure::Journal(_) => "harness_failed",
    };
    let sources = std::iter::successors(Some(failure as &dyn Error), |error| (*error).source());
    let message: Vec<String> = sources.map(ToString::to_string).collect();
    Failed { reason: reason.to_owned(), message: message.join(": ") }
}
