//! Asks vault-proxy to open and close sandboxes' ways out, and what a session's sandbox gets.

use std::path::Path;
use std::time::Duration;

use platform_core::clock::IdSource;
use platform_core::id::{CommandId, SandboxId, SessionId, TeamId};
use platform_messaging::proto::egress::egress_command::Action;
use platform_messaging::proto::egress::egress_reply::Outcome;
use platform_messaging::proto::egress::{
    BindEgress, CloseEgress, EgressBound, EgressCommand, EgressReply, OpenEgress,
};
use platform_messaging::topology::{EGRESS_COMMANDS, kind};
use platform_messaging::{
    Broker, DecodeError, Outgoing, PublishError, RequestError, decode, encode,
};

const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    #[error("vault-proxy cannot be asked")]
    Request(#[from] RequestError),
    #[error("vault-proxy's answer is unreadable")]
    Answer(#[from] DecodeError),
    /// Carries vault-proxy's own sentence.
    #[error("{0}")]
    Refused(String),
}

/// Answers once the sandbox's way out listens at `socket`, or is open to its ticket, with the authority (PEM) that the sandbox has to trust.
pub async fn open(
    broker: &Broker,
    ids: &dyn IdSource,
    sandbox: SandboxId,
    socket: Option<&Path>,
) -> Result<String, EgressError> {
    let socket_path = socket.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
    let open = OpenEgress { socket_path };
    match ask(broker, ids, sandbox, Action::Open(open)).await? {
        Some(Outcome::Opened(opened)) => Ok(opened.ca_certificate_pem),
        Some(Outcome::Bound(_) | Outcome::PolicyChecked(_) | Outcome::CredentialValidated(_))
        | None => Ok(String::new()),
    }
}

/// Answers what has to be put into the sandbox, now that it is this session's.
pub async fn bind(
    broker: &Broker,
    ids: &dyn IdSource,
    sandbox: SandboxId,
    team: TeamId,
    session: SessionId,
) -> Result<EgressBound, EgressError> {
    let bind =
        BindEgress { team_id: team.uuid().to_string(), session_id: session.uuid().to_string() };
    match ask(broker, ids, sandbox, Action::Bind(bind)).await? {
        Some(Outcome::Bound(bound)) => Ok(bound),
        Some(Outcome::Opened(_) | Outcome::PolicyChecked(_) | Outcome::CredentialValidated(_))
        | None => Err(EgressError::Refused("vault-proxy answered something else".to_owned())),
    }
}

async fn ask(
    broker: &Broker,
    ids: &dyn IdSource,
    sandbox: SandboxId,
    action: Action,
) -> Result<Option<Outcome>, EgressError> {
    let command_id = CommandId::mint(ids).uuid();
    let body = encode(&command(command_id, sandbox, action));
    let answer =
        broker.request(EGRESS_COMMANDS, kind::EGRESS_COMMAND, command_id, body, PATIENCE).await?;
    let reply: EgressReply = decode(&answer)?;
    if reply.error.is_empty() { Ok(reply.outcome) } else { Err(EgressError::Refused(reply.error)) }
}

/// Has the way out closed. It leads nowhere any more: its sandbox is gone, so nobody waits for the outcome.
pub async fn close(
    broker: &Broker,
    ids: &dyn IdSource,
    sandbox: SandboxId,
) -> Result<(), PublishError> {
    let command_id = CommandId::mint(ids).uuid();
    let body = encode(&command(command_id, sandbox, Action::Close(CloseEgress {})));
    let message = Outgoing::new(EGRESS_COMMANDS, kind::EGRESS_COMMAND, command_id, body);
    broker.publish(message).await.map(drop)
}

fn command(command_id: uuid::Uuid, sandbox: SandboxId, action: Action) -> EgressCommand {
    EgressCommand {
        command_id: command_id.to_string(),
        sandbox_id: sandbox.uuid().to_string(),
        action: Some(action),
    }
}
