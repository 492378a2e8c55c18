//! Asks vault-proxy to open and close sandboxes' ways out.

use std::path::Path;
use std::time::Duration;

use platform_core::clock::IdSource;
use platform_core::id::{CommandId, SandboxId};
use platform_messaging::proto::egress::egress_command::Action;
use platform_messaging::proto::egress::{CloseEgress, EgressCommand, EgressReply, OpenEgress};
use platform_messaging::topology::{EGRESS_COMMANDS, kind};
use platform_messaging::{
    Broker, DecodeError, Outgoing, PublishError, RequestError, decode, encode,
};

const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum OpenEgressError {
    #[error("vault-proxy cannot be asked for a way out")]
    Request(#[from] RequestError),
    #[error("vault-proxy's answer is unreadable")]
    Answer(#[from] DecodeError),
    /// Carries vault-proxy's own sentence.
    #[error("{0}")]
    Refused(String),
}

/// Answers once the sandbox's way out listens at `socket`.
pub async fn open(
    broker: &Broker,
    ids: &dyn IdSource,
    sandbox: SandboxId,
    socket: &Path,
) -> Result<(), OpenEgressError> {
    let open = OpenEgress { socket_path: socket.to_string_lossy().into_owned() };
    let command_id = CommandId::mint(ids).uuid();
    let body = encode(&command(command_id, sandbox, Action::Open(open)));
    let answer =
        broker.request(EGRESS_COMMANDS, kind::EGRESS_COMMAND, command_id, body, PATIENCE).await?;
    let reply: EgressReply = decode(&answer)?;
    if reply.error.is_empty() { Ok(()) } else { Err(OpenEgressError::Refused(reply.error)) }
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
