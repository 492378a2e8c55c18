//! Takes a batch of a sandbox's journal into the log.

use platform_core::conversation::NumberedEntry;
use platform_core::sandbox::Epoch;
use platform_messaging::proto::session::{AppendJournal, JournalAccepted, session_reply::Outcome};
use platform_storage::Connection;

use super::{Scope, Settled, raise_alarm};
use crate::failure::CommandError;
use crate::redaction::Redaction;
use crate::stored;

pub async fn append_journal(
    connection: &mut Connection,
    scope: Scope<'_>,
    command: AppendJournal,
) -> Result<Settled, CommandError> {
    let redaction = Redaction::of(connection, scope.keys, scope.team, scope.session).await?;
    let mut conversation = stored::take_up(connection, scope.team, scope.session).await?;
    let taken = conversation.session().journal_through;
    let mut fresh = command.entries.iter().filter(|entry| entry.number > taken);
    let alarm = fresh.find_map(|entry| redaction.find_honey(&entry.body));
    let batch = command.entries.iter().map(|entry| {
        let number = entry.number;
        redaction.read(&entry.body).map(|entry| NumberedEntry { number, entry })
    });
    // A sandbox is not trusted: what cannot be read is refused, not retried.
    let batch = batch
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| CommandError::invalid("a journal entry cannot be read"))?;
    let epoch = Epoch(command.epoch);
    let through = conversation.take_journal(epoch, batch, scope.moment)?;
    let mut aftermath = stored::store(connection, conversation, scope.moment).await?;
    if let Some(alarm) = alarm {
        aftermath.go_on_with(raise_alarm::raise(connection, scope, alarm).await?);
    }
    Ok(Settled { outcome: Outcome::JournalAccepted(JournalAccepted { through }), aftermath })
}
