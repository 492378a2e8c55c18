//! What sandbox-service asks of this proxy, and what must be open again after a restart.

use std::fs::File;
use std::path::Path;

use platform_core::id::SandboxId;
use platform_messaging::proto::egress::egress_command::Action;
use platform_messaging::proto::egress::{EgressCommand, EgressReply};
use platform_messaging::{Incoming, Verdict, decode, encode};
use platform_storage::{Database, StorageError, sandbox};
use tokio::net::UnixStream;

use crate::door::short;
use crate::doors::Doors;

/// Carries out one command of `egress.commands`.
pub fn carry_out(doors: &Doors, message: &Incoming) -> Verdict {
    let command = match decode::<EgressCommand>(&message.body) {
        Ok(command) => command,
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a message is no command");
            return Verdict::DeadLetter;
        }
    };
    let (Ok(sandbox), Some(action)) = (command.sandbox_id.parse::<SandboxId>(), command.action)
    else {
        tracing::error!(command.id = command.command_id, "a command names no sandbox or no action");
        return Verdict::DeadLetter;
    };
    let error = match action {
        // Another replica, or the successor, opens it.
        Action::Open(_) if doors.are_closing() => return Verdict::Retry,
        Action::Open(open) => match doors.open(sandbox, Path::new(&open.socket_path)) {
            Ok(()) => String::new(),
            Err(error) => {
                tracing::error!(sandbox.id = %sandbox, %error, "a way out could not be opened");
                format!("its way out could not be opened: {error}")
            }
        },
        Action::Close(_) => {
            doors.close(sandbox);
            String::new()
        }
    };
    Verdict::Answer(encode(&EgressReply { error }))
}

/// Opens the ways out of all sandboxes that live on this machine and at whose sockets nobody answers: they went on while their proxy
/// was away.
pub async fn reopen_all(
    doors: &Doors,
    database: &Database,
    host: &str,
) -> Result<(), StorageError> {
    let mut connection = database.connection().await?;
    for sandbox in sandbox::list_living(&mut connection, host).await? {
        let noted = sandbox.detail.get("egress_socket").and_then(|path| path.as_str());
        let Some(path) = noted.map(Path::new) else { continue };
        if !path.parent().is_some_and(Path::exists) || somebody_answers(path).await {
            continue;
        }
        if let Err(error) = doors.open(sandbox.id, path) {
            tracing::warn!(sandbox.id = %sandbox.id, %error, "a way out could not be opened again");
        }
    }
    Ok(())
}

async fn somebody_answers(path: &Path) -> bool {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return false };
    let Ok(folder) = File::open(folder) else { return false };
    UnixStream::connect(short(&folder, name)).await.is_ok()
}
