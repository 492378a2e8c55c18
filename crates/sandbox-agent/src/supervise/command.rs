//! What the platform tells a sandbox to do, read from the link's frames once.

use std::time::Duration;

use platform_core::harness::Manifest;
use platform_core::id::{EventId, SessionId, TurnId};
use platform_core::sandbox::{Epoch, SessionSpec};
use platform_core::session::ContentBlock;
use platform_core::turn::{ActionAnswer, AnsweredAction};
use platform_messaging::proto::link;

#[derive(Debug)]
pub(super) enum Command {
    Prepare(Box<Preparation>),
    Hydrate(Box<Hydration>),
    StartTurn(TurnOrder),
    InterruptTurn(TurnId),
    Answer(Answered),
}

/// The answer to a call that waits.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) turn_id: TurnId,
    pub(super) call: EventId,
    pub(super) answer: ActionAnswer,
}

/// What is known before a session is.
#[derive(Debug)]
pub(super) struct Preparation {
    pub(super) manifest: Manifest,
    pub(super) models: Vec<String>,
}

/// Everything about the session that this sandbox is for.
#[derive(Debug)]
pub(super) struct Hydration {
    pub(super) session_id: SessionId,
    pub(super) epoch: Epoch,
    pub(super) spec: SessionSpec,
    pub(super) manifest: Manifest,
    pub(super) models: Vec<String>,
}

#[derive(Debug)]
pub(super) struct TurnOrder {
    pub(super) turn_id: TurnId,
    /// 1 for the first attempt.
    pub(super) attempt: u32,
    pub(super) prompt: Vec<ContentBlock>,
    /// How long the harness may say nothing; `None` for as long as it likes.
    pub(super) silence: Option<Duration>,
    /// Calls of an earlier sandbox in this turn that were answered since.
    pub(super) answers: Vec<AnsweredAction>,
}

/// The frame is of the right kind, but what it holds cannot be read: the platform is of another version.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidCommand {
    #[error("an id in the frame is none")]
    Id(#[from] platform_core::id::InvalidId),
    #[error("a part of the frame is not of the expected form")]
    Content(#[from] serde_json::Error),
}

impl TryFrom<link::Prepare> for Command {
    type Error = InvalidCommand;

    fn try_from(frame: link::Prepare) -> Result<Self, InvalidCommand> {
        let manifest = serde_json::from_slice(&frame.manifest)?;
        Ok(Self::Prepare(Box::new(Preparation { manifest, models: frame.models })))
    }
}

impl TryFrom<link::Hydrate> for Command {
    type Error = InvalidCommand;

    fn try_from(frame: link::Hydrate) -> Result<Self, InvalidCommand> {
        Ok(Self::Hydrate(Box::new(Hydration {
            session_id: frame.session_id.parse()?,
            epoch: Epoch(frame.epoch),
            spec: serde_json::from_slice(&frame.session_spec)?,
            manifest: serde_json::from_slice(&frame.manifest)?,
            models: frame.models,
        })))
    }
}

impl TryFrom<link::StartTurn> for Command {
    type Error = InvalidCommand;

    fn try_from(frame: link::StartTurn) -> Result<Self, InvalidCommand> {
        let seconds = frame.harness_silence_seconds;
        Ok(Self::StartTurn(TurnOrder {
            turn_id: frame.turn_id.parse()?,
            attempt: frame.attempt,
            prompt: serde_json::from_slice(&frame.prompt)?,
            silence: (seconds > 0).then(|| Duration::from_secs(seconds)),
            answers: if frame.answers.is_empty() {
                Vec::new()
            } else {
                serde_json::from_slice(&frame.answers)?
            },
        }))
    }
}

impl TryFrom<link::AnswerAction> for Command {
    type Error = InvalidCommand;

    fn try_from(frame: link::AnswerAction) -> Result<Self, InvalidCommand> {
        Ok(Self::Answer(Answered {
            turn_id: frame.turn_id.parse()?,
            call: frame.event_id.parse()?,
            answer: serde_json::from_slice(&frame.answer)?,
        }))
    }
}

impl TryFrom<link::InterruptTurn> for Command {
    type Error = InvalidCommand;

    fn try_from(frame: link::InterruptTurn) -> Result<Self, InvalidCommand> {
        Ok(Self::InterruptTurn(frame.turn_id.parse()?))
    }
}
