//! What is asked of this proxy: ways out to open and close, what a session's sandbox gets, and questions that only it can answer.

mod bind;
mod check_policy;
mod validate_credential;

use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use platform_core::clock::Clock;
use platform_core::id::SandboxId;
use platform_messaging::proto::egress::egress_command::Action;
use platform_messaging::proto::egress::egress_reply::Outcome;
use platform_messaging::proto::egress::{EgressCommand, EgressOpened, EgressReply, OpenEgress};
use platform_messaging::{Incoming, Verdict, decode, encode};
use platform_sealing::EncryptionKeys;
use platform_storage::{Database, StorageError, sandbox};
use tokio::net::UnixStream;

use crate::door::short;
use crate::doors::Doors;
use crate::model::keys::SessionKeys;
use crate::proxy::{Outside, Upstream};
use crate::secrets::refresh::Refresher;
use crate::secrets::session::Loader;

/// What commands are carried out with.
pub struct Desk {
    pub doors: Doors,
    pub database: Database,
    pub keys: EncryptionKeys,
    pub loader: Arc<Loader>,
    pub outside: Arc<Outside>,
    /// For requests of the proxy's own.
    pub upstream: Upstream,
    pub refresher: Refresher,
    pub session_keys: Option<Arc<SessionKeys>>,
    pub clock: Arc<dyn Clock>,
}

/// Why a command was not carried out, as a sentence.
type Refused = String;

/// Carries out one command of `egress.commands`.
pub async fn carry_out(desk: &Desk, message: &Incoming) -> Verdict {
    let command = match decode::<EgressCommand>(&message.body) {
        Ok(command) => command,
        Err(error) => {
            tracing::error!(error = &error as &dyn Error, "a message is no command");
            return Verdict::DeadLetter;
        }
    };
    let EgressCommand { command_id, sandbox_id, action } = command;
    let sandbox = sandbox_id.parse::<SandboxId>();
    let outcome = match (action, sandbox) {
        // Another replica, or the successor, opens it.
        (Some(Action::Open(_)), Ok(_)) if desk.doors.are_closing() => return Verdict::Retry,
        (Some(Action::Open(open)), Ok(sandbox)) => open_way_out(desk, sandbox, &open).map(Some),
        (Some(Action::Close(_)), Ok(sandbox)) => {
            close_way_out(desk, sandbox).await;
            Ok(None)
        }
        (Some(Action::Bind(bind)), Ok(sandbox)) => {
            bind::bind(desk, sandbox, &bind).await.map(|bound| Some(Outcome::Bound(bound)))
        }
        (Some(Action::CheckPolicy(check)), _) => check_policy::check_policy(desk, &check)
            .await
            .map(|checked| Some(Outcome::PolicyChecked(checked))),
        (Some(Action::ValidateCredential(validate)), _) => {
            validate_credential::validate_credential(desk, &validate)
                .await
                .map(|validated| Some(Outcome::CredentialValidated(validated)))
        }
        (None, _) | (Some(Action::Open(_) | Action::Close(_) | Action::Bind(_)), Err(_)) => {
            tracing::error!(command.id = command_id, "a command names no sandbox or no action");
            return Verdict::DeadLetter;
        }
    };
    let (error, outcome) = match outcome {
        Ok(outcome) => (String::new(), outcome),
        Err(error) => (error, None),
    };
    Verdict::Answer(encode(&EgressReply { error, outcome }))
}

fn open_way_out(desk: &Desk, sandbox: SandboxId, open: &OpenEgress) -> Result<Outcome, Refused> {
    let opened = if open.socket_path.is_empty() {
        desk.doors.certificate_of(sandbox)
    } else {
        desk.doors.open(sandbox, Path::new(&open.socket_path))
    };
    match opened {
        Ok(ca_certificate_pem) => Ok(Outcome::Opened(EgressOpened { ca_certificate_pem })),
        Err(error) => {
            let cause = error.source().map_or_else(String::new, |it| format!(": {it}"));
            tracing::error!(sandbox.id = %sandbox, error = &error as &dyn Error, "a way out could not be opened");
            Err(format!("its way out could not be opened: {error}{cause}"))
        }
    }
}

async fn close_way_out(desk: &Desk, sandbox: SandboxId) {
    desk.doors.close(sandbox);
    let owner = desk.loader.forget(sandbox).await;
    if let (Some(owner), Some(keys)) = (owner, &desk.session_keys) {
        keys.give_back(owner.session_id).await;
    }
}

/// A failure of the database, told to whoever asked.
fn away(error: &StorageError) -> Refused {
    tracing::warn!(error = error as &dyn Error, "a command could not be carried out");
    "the database cannot be asked now".to_owned()
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
            tracing::warn!(sandbox.id = %sandbox.id, error = &error as &dyn Error, "a way out could not be opened again");
        }
    }
    Ok(())
}

async fn somebody_answers(path: &Path) -> bool {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return false };
    let Ok(folder) = File::open(folder) else { return false };
    UnixStream::connect(short(&folder, name)).await.is_ok()
}
