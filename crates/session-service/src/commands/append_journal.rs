//! Takes a batch of a sandbox's journal into the log.

use platform_core::conversation::NumberedEntry;
use platform_core::sandbox::Epoch;
use platform_messaging::proto::session::{AppendJournal, JournalAccepted, session_reply::Outcome};
use platform_storage::Connection;

use super::{Scope, Settled};
use crate::failure::CommandError;
use crate::stored;

pub async fn append_journal(
    connection: &mut Connection,
    scope: Scope<'_>,
    command: AppendJournal,
) -> Result<Settled, CommandError> {
    let batch = command.entries.into_iter().map(|entry| {
        let number = entry.number;
        serde_json::from_slice(&entry.body).map(|entry| NumberedEntry { number, entry })
    });
    // A sandbox is not trusted: what cannot be read is refused, not retried.
    let batch = batch
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| CommandError::invalid("a journal entry cannot be read"))?;
    let mut conversation = stored::take_up(connection, scope.team, scope.session).await?;
    let epoch = Epoch(command.epoch);
    let through = conversation.take_journal(epoch, batch, scope.moment)?;
    let aftermath = stored::store(connection, conversation, scope.moment).await?;
    Ok(Settled { outcome: Outcome::JournalAccepted(JournalAccepted { through }), aftermath })
}
