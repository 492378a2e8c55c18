//! Commands to session-service, and its answers as this gateway's callers see them.

pub mod egress;

use std::time::Duration;

use platform_core::failure::FailureKind;
use platform_core::id::{CommandId, SandboxId, SessionId, TeamId};
use platform_core::sandbox::Epoch;
use platform_messaging::proto::sandbox::{SandboxCommand, StopSandbox, sandbox_command};
use platform_messaging::proto::session::session_command::Action;
use platform_messaging::proto::session::session_reply::Outcome;
use platform_messaging::proto::session::{SessionCommand, SessionReply};
use platform_messaging::topology::{SANDBOX_COMMANDS, SESSION_COMMANDS, kind};
use platform_messaging::{Broker, Delivered, Outgoing, RequestError, decode, encode};
use platform_runtime::telemetry::current_traceparent;

use crate::problem::Problem;

/// How long a caller waits for the outcome before it is told that the command was taken.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends commands. A repeat under the same command id is answered as the first time.
pub struct Commands {
    broker: Broker,
    patience: Duration,
}

/// What became of a command that was not refused.
#[derive(Debug, Clone, PartialEq)]
pub enum Sent {
    Answered(Outcome),
    /// The command is durable and will be carried out; the outcome did not come in time.
    Taken,
}

impl Commands {
    pub fn new(broker: Broker) -> Self {
        Self { broker, patience: PATIENCE }
    }

    /// Waits less long for outcomes.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Has session-service carry out `action` and answers the outcome. A refusal is a problem with session-service's own words.
    pub async fn send(
        &self,
        id: CommandId,
        team: TeamId,
        session: SessionId,
        action: Action,
    ) -> Result<Sent, Problem> {
        let command = SessionCommand {
            command_id: id.uuid().to_string(),
            team_id: team.uuid().to_string(),
            session_id: session.uuid().to_string(),
            action: Some(action),
        };
        let message =
            Outgoing::new(SESSION_COMMANDS, kind::SESSION_COMMAND, id.uuid(), encode(&command))
                .traceparent(current_traceparent());
        match self.request(message).await {
            Ok(reply) => outcome(&reply).map(Sent::Answered),
            Err(RequestError::TimedOut) => Ok(Sent::Taken),
            Err(failure @ (RequestError::Unavailable { .. } | RequestError::Unroutable)) => {
                Err(failure.into())
            }
        }
    }

    /// A message that the broker did not confirm may have arrived all the same. Asking once more under the same id settles it.
    async fn request(&self, message: Outgoing) -> Result<Vec<u8>, RequestError> {
        match self.broker.request_message(message.clone(), self.patience).await {
            Err(RequestError::Unavailable { .. }) => {
                self.broker.request_message(message, self.patience).await
            }
            settled => settled,
        }
    }

    /// Has sandbox-service stop a sandbox, as an operator wishes. Answers once the broker has the command.
    pub async fn stop_sandbox(
        &self,
        id: CommandId,
        team: TeamId,
        sandbox: SandboxId,
        session: Option<SessionId>,
        epoch: Option<Epoch>,
    ) -> Result<(), Problem> {
        let stop = StopSandbox {
            sandbox_id: sandbox.uuid().to_string(),
            reason: "operator".to_owned(),
            remove_workspace: false,
        };
        let command = SandboxCommand {
            command_id: id.uuid().to_string(),
            team_id: team.uuid().to_string(),
            session_id: session.map_or_else(String::new, |session| session.uuid().to_string()),
            epoch: epoch.map_or(0, |epoch| epoch.0),
            action: Some(sandbox_command::Action::Stop(stop)),
        };
        let message =
            Outgoing::new(SANDBOX_COMMANDS, kind::SANDBOX_COMMAND, id.uuid(), encode(&command))
                .mandatory()
                .traceparent(current_traceparent());
        match self.broker.publish(message).await? {
            Delivered::Routed => Ok(()),
            Delivered::Unroutable => Err(RequestError::Unroutable.into()),
        }
    }
}

fn outcome(reply: &[u8]) -> Result<Outcome, Problem> {
    let reply: SessionReply = decode(reply).map_err(|failure| unreadable().caused_by(failure))?;
    match reply.outcome.ok_or_else(unreadable)? {
        Outcome::Refused(refused) => {
            let kind = refused.kind.parse().unwrap_or(FailureKind::Internal);
            let problem = Problem::new(kind, refused.message);
            Err(if refused.code.is_empty() { problem } else { problem.with_code(refused.code) })
        }
        outcome @ (Outcome::Opened(_)
        | Outcome::Appended(_)
        | Outcome::Done(_)
        | Outcome::JournalAccepted(_)) => Ok(outcome),
    }
}

/// An answer of another kind than the command asks for.
pub fn unreadable() -> Problem {
    Problem::new(FailureKind::Internal, "session-service gave an answer that cannot be read")
}
