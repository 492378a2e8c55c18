//! Gives back the sandboxes of sessions that have been idle for longer than their environment allows.

use platform_core::id::CommandId;
use platform_messaging::Outgoing;
use platform_messaging::encode;
use platform_messaging::proto::session::{ReleaseSandbox, SessionCommand, session_command::Action};
use platform_messaging::topology::{self, kind};
use platform_storage::session::{self, IdleSandbox};

use super::{Context, JobError};

const BATCH: u32 = 200;

/// Asks session-service, which decides under the session's lock: a message that arrives meanwhile wins.
pub async fn release_idle(context: Context) -> Result<(), JobError> {
    let now = context.clock.now();
    let mut connection = context.database.connection().await?;
    let overdue = session::list_idle_with_sandbox(&mut connection, now, BATCH).await?;
    drop(connection);
    for sandbox in overdue {
        let id = CommandId::mint(context.ids.as_ref()).uuid();
        let body = encode(&release(id.to_string(), &sandbox));
        let route = topology::SESSION_COMMANDS;
        context.broker.publish(Outgoing::new(route, kind::SESSION_COMMAND, id, body)).await?;
    }
    Ok(())
}

fn release(command_id: String, sandbox: &IdleSandbox) -> SessionCommand {
    let release = ReleaseSandbox {
        sandbox_id: sandbox.sandbox_id.uuid().to_string(),
        epoch: sandbox.epoch.0,
        reason: "idle".to_owned(),
    };
    SessionCommand {
        command_id,
        team_id: sandbox.team_id.uuid().to_string(),
        session_id: sandbox.session_id.uuid().to_string(),
        action: Some(Action::ReleaseSandbox(release)),
    }
}
