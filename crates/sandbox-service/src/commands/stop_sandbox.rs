//! Stops a session's sandboxes, and removes its files when the session is deleted.

use std::sync::Arc;

use platform_core::id::SandboxId;
use platform_messaging::proto::sandbox::StopSandbox;
use platform_storage::sandbox as rows;

use super::{CommandError, Subject};
use crate::ending;
use crate::notes::Loss;
use crate::service::Service;

/// The one reason that session-service has not decided itself: it hears of it as of any other loss.
const OPERATOR: &str = "operator";

/// Answers when they are gone for certain. May be repeated.
pub(super) async fn stop_sandbox(
    service: &Arc<Service>,
    subject: Subject,
    stop: StopSandbox,
) -> Result<(), CommandError> {
    let mut connection = service.database().connection().await?;
    let sandboxes: Vec<SandboxId> = if stop.sandbox_id.is_empty() {
        let living = rows::list_of_session(&mut connection, subject.team, subject.session).await?;
        let is_meant = |epoch| epoch <= Some(subject.epoch);
        living.into_iter().filter(|row| is_meant(row.epoch)).map(|row| row.id).collect()
    } else {
        let named = stop.sandbox_id.parse()?;
        let found = rows::find_of_team(&mut connection, subject.team, named).await?;
        found.into_iter().map(|row| row.id).collect()
    };
    drop(connection);
    for sandbox in sandboxes {
        if stop.reason == OPERATOR {
            let loss = Loss::new("killed", "an operator ended the sandbox");
            ending::lose(service, sandbox, loss).await;
        } else {
            ending::stop(service, sandbox, &stop.reason).await?;
        }
    }
    if stop.remove_workspace {
        service.backend().remove_workspace(subject.session).await?;
    }
    Ok(())
}
