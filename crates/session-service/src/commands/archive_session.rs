//! Ends a session for good; its log stays readable.

use chrono::DateTime;
use platform_messaging::proto::session::{ArchiveSession, Done, session_reply::Outcome};
use platform_storage::Connection;

use super::{Scope, Settled};
use crate::failure::CommandError;
use crate::{stored, unfinished};

pub async fn archive_session(
    connection: &mut Connection,
    scope: Scope<'_>,
    command: ArchiveSession,
) -> Result<Settled, CommandError> {
    let since = command.if_untouched_since_unix_micros.map(|micros| {
        DateTime::from_timestamp_micros(micros).ok_or_else(|| CommandError::invalid("no such time"))
    });
    let since = since.transpose()?;
    let mut conversation = stored::take_up(connection, scope.team, scope.session).await?;
    if let Some(since) = since {
        conversation.archive_untouched(since, scope.moment)?;
    } else {
        let unfinished = unfinished::of(connection, &conversation).await?;
        conversation.archive(unfinished, scope.moment);
    }
    let aftermath = stored::store(connection, conversation, scope.moment).await?;
    Ok(Settled { outcome: Outcome::Done(Done {}), aftermath })
}
