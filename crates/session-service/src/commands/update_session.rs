//! Changes a session's title, metadata or tools.

use platform_core::session::SessionPatch;
use platform_messaging::proto::session::{Done, UpdateSession, session_reply::Outcome};
use platform_storage::Connection;

use super::{Scope, Settled};
use crate::failure::CommandError;
use crate::stored;

pub async fn update_session(
    connection: &mut Connection,
    scope: Scope<'_>,
    command: UpdateSession,
) -> Result<Settled, CommandError> {
    let patch: SessionPatch = serde_json::from_slice(&command.patch)?;
    let mut conversation = stored::take_up(connection, scope.team, scope.session).await?;
    conversation.update(patch, scope.moment)?;
    let aftermath = stored::store(connection, conversation, scope.moment).await?;
    Ok(Settled { outcome: Outcome::Done(Done {}), aftermath })
}
