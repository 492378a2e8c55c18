//! What session-service hears from this service: how far sandboxes are, what they did, and when they are lost.

use std::time::Duration;

use platform_core::egress::Alarm;
use platform_core::id::{CommandId, SandboxId, SessionId, TeamId};
use platform_core::sandbox::{Epoch, Sandbox, StartupPhase};
use platform_messaging::proto::session::session_command::Action;
use platform_messaging::proto::session::session_reply::Outcome;
use platform_messaging::proto::session::{
    AppendJournal, JournalEntry, RaiseAlarm, Refused, ReleaseSandbox, ReportLoss, ReportStartup,
    SessionCommand, SessionReply,
};
use platform_messaging::topology::{SESSION_COMMANDS, kind};
use platform_messaging::{DecodeError, Outgoing, PublishError, RequestError, decode, encode};
use uuid::Uuid;

use crate::notes::Loss;
use crate::service::Service;

const PATIENCE: Duration = Duration::from_secs(30);
const LONGEST_DETAIL: usize = 500;

/// For which session, in which of its epochs, a sandbox works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occupancy {
    pub team: TeamId,
    pub session: SessionId,
    pub epoch: Epoch,
    pub sandbox: SandboxId,
}

impl Occupancy {
    /// `None` while no session has claimed the sandbox.
    pub fn of(sandbox: &Sandbox) -> Option<Self> {
        Some(Self {
            team: sandbox.team_id?,
            session: sandbox.session_id?,
            epoch: sandbox.epoch?,
            sandbox: sandbox.id,
        })
    }

    fn command(&self, command_id: Uuid, action: Action) -> SessionCommand {
        SessionCommand {
            command_id: command_id.to_string(),
            team_id: self.team.uuid().to_string(),
            session_id: self.session.uuid().to_string(),
            action: Some(action),
        }
    }
}

/// How a sandbox came to be, as the API shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpawnMode {
    /// Not decided yet.
    Open,
    Warm,
    Cold,
}

impl SpawnMode {
    fn as_word(self) -> &'static str {
        match self {
            Self::Open => "",
            Self::Warm => "warm",
            Self::Cold => "cold",
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("session-service cannot be asked")]
    Request(#[from] RequestError),
    #[error("session-service's answer is unreadable")]
    Answer(#[from] DecodeError),
    #[error("session-service's answer says nothing")]
    Empty,
}

#[derive(Debug, thiserror::Error)]
pub enum ReportAlarmError {
    #[error("the alarm cannot be written down")]
    Encode(#[from] serde_json::Error),
    #[error("the alarm cannot be sent")]
    Publish(#[from] PublishError),
}

/// Tells that a sandbox came to a phase of its start.
pub async fn startup(
    service: &Service,
    occupancy: &Occupancy,
    phase: StartupPhase,
    mode: SpawnMode,
    detail: &str,
) -> Result<(), PublishError> {
    publish(
        service,
        occupancy,
        Action::ReportStartup(step(service, occupancy, phase, mode, detail)),
    )
    .await
}

/// Tells that a sandbox is ready for turns, and learns whether the session still wants it.
pub async fn ready(
    service: &Service,
    occupancy: &Occupancy,
    mode: SpawnMode,
) -> Result<Result<(), Refused>, AskError> {
    let step = step(service, occupancy, StartupPhase::Ready, mode, "");
    let command_id = CommandId::mint(service.ids()).uuid();
    match ask(service, occupancy, command_id, Action::ReportStartup(step)).await? {
        Outcome::Refused(refused) => Ok(Err(refused)),
        Outcome::Opened(_)
        | Outcome::Appended(_)
        | Outcome::Done(_)
        | Outcome::JournalAccepted(_) => Ok(Ok(())),
    }
}

/// Tells that a sandbox is gone for certain.
pub async fn loss(
    service: &Service,
    occupancy: &Occupancy,
    loss: &Loss,
) -> Result<(), PublishError> {
    let report = ReportLoss {
        epoch: occupancy.epoch.0,
        sandbox_id: occupancy.sandbox.uuid().to_string(),
        reason: loss.reason.clone(),
        message: loss.message.clone(),
        may_retry: loss.may_retry,
    };
    publish(service, occupancy, Action::ReportLoss(report)).await
}

/// Tells of something that must never happen.
pub async fn alarm(
    service: &Service,
    occupancy: &Occupancy,
    alarm: &Alarm,
) -> Result<(), ReportAlarmError> {
    let alarm = serde_json::to_vec(alarm)?;
    publish(service, occupancy, Action::RaiseAlarm(RaiseAlarm { alarm })).await?;
    Ok(())
}

/// Hands a batch of journal entries over, and answers up to which number all are committed. The same `command_id` for
/// the same batch makes a repetition harmless.
pub async fn append(
    service: &Service,
    occupancy: &Occupancy,
    command_id: Uuid,
    entries: Vec<JournalEntry>,
) -> Result<Result<u64, Refused>, AskError> {
    let append = AppendJournal {
        epoch: occupancy.epoch.0,
        sandbox_id: occupancy.sandbox.uuid().to_string(),
        entries,
    };
    match ask(service, occupancy, command_id, Action::AppendJournal(append)).await? {
        Outcome::JournalAccepted(accepted) => Ok(Ok(accepted.through)),
        Outcome::Refused(refused) => Ok(Err(refused)),
        Outcome::Opened(_) | Outcome::Appended(_) | Outcome::Done(_) => Err(AskError::Empty),
    }
}

/// Asks whether an idle sandbox may be given back, because others wait for its room. `true`: it will be stopped.
pub async fn release(service: &Service, occupancy: &Occupancy) -> Result<bool, AskError> {
    let release = ReleaseSandbox {
        sandbox_id: occupancy.sandbox.uuid().to_string(),
        epoch: occupancy.epoch.0,
        reason: "capacity".to_owned(),
    };
    let command_id = CommandId::mint(service.ids()).uuid();
    let outcome = ask(service, occupancy, command_id, Action::ReleaseSandbox(release)).await?;
    Ok(!matches!(outcome, Outcome::Refused(_)))
}

fn step(
    service: &Service,
    occupancy: &Occupancy,
    phase: StartupPhase,
    mode: SpawnMode,
    detail: &str,
) -> ReportStartup {
    ReportStartup {
        epoch: occupancy.epoch.0,
        sandbox_id: occupancy.sandbox.uuid().to_string(),
        phase: phase.as_word().to_owned(),
        detail: detail.chars().take(LONGEST_DETAIL).collect(),
        at_unix_micros: service.now().timestamp_micros(),
        spawn_mode: mode.as_word().to_owned(),
    }
}

async fn publish(
    service: &Service,
    occupancy: &Occupancy,
    action: Action,
) -> Result<(), PublishError> {
    let command_id = CommandId::mint(service.ids()).uuid();
    let body = encode(&occupancy.command(command_id, action));
    let message = Outgoing::new(SESSION_COMMANDS, kind::SESSION_COMMAND, command_id, body);
    service.broker().publish(message).await.map(drop)
}

async fn ask(
    service: &Service,
    occupancy: &Occupancy,
    command_id: Uuid,
    action: Action,
) -> Result<Outcome, AskError> {
    let body = encode(&occupancy.command(command_id, action));
    let answer = service
        .broker()
        .request(SESSION_COMMANDS, kind::SESSION_COMMAND, command_id, body, PATIENCE)
        .await?;
    let reply: SessionReply = decode(&answer)?;
    reply.outcome.ok_or(AskError::Empty)
}
