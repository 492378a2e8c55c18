//! Ends a session for good; its log stays readable.

use platform_messaging::proto::session::{Done, session_reply::Outcome};
use platform_storage::Connection;

use super::{Scope, Settled};
use crate::failure::CommandError;
use crate::{stored, unfinished};

pub async fn archive_session(
    connection: &mut Connection,
    scope: Scope<'_>,
) -> Result<Settled, CommandError> {
    let mut conversation = stored::take_up(connection, scope.team, scope.session).await?;
    let unfinished = unfinished::of(connection, &conversation).await?;
    conversation.archive(unfinished, scope.moment);
    let aftermath = stored::store(connection, conversation, scope.moment).await?;
    Ok(Settled { outcome: Outcome::Done(Done {}), aftermath })
}
