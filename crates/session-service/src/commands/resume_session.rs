//! Goes on with a turn that waited for money, if there is some now.

use platform_messaging::proto::session::{Done, session_reply::Outcome};
use platform_storage::Connection;

use super::{Scope, Settled};
use crate::failure::CommandError;
use crate::stored;

pub async fn resume_session(
    connection: &mut Connection,
    scope: Scope<'_>,
) -> Result<Settled, CommandError> {
    let mut conversation = stored::take_up(connection, scope.team, scope.session).await?;
    conversation.resume_paused(scope.moment);
    let aftermath = stored::store(connection, conversation, scope.moment).await?;
    Ok(Settled { outcome: Outcome::Done(Done {}), aftermath })
}
