//! Gives an idle session's sandbox back.

use platform_core::id::SandboxId;
use platform_core::sandbox::Epoch;
use platform_messaging::proto::session::{Done, ReleaseSandbox, session_reply::Outcome};
use platform_storage::Connection;

use super::{Scope, Settled, parse_id};
use crate::failure::CommandError;
use crate::stored;

pub async fn release_sandbox(
    connection: &mut Connection,
    scope: Scope<'_>,
    release: ReleaseSandbox,
) -> Result<Settled, CommandError> {
    let sandbox = SandboxId::from_uuid(parse_id(&release.sandbox_id)?);
    let mut conversation = stored::take_up(connection, scope.team, scope.session).await?;
    conversation.release_sandbox(Epoch(release.epoch), sandbox, scope.moment)?;
    let aftermath = stored::store(connection, conversation, scope.moment).await?;
    Ok(Settled { outcome: Outcome::Done(Done {}), aftermath })
}
