//! Takes a client's events into the log.

use platform_core::conversation::Unfinished;
use platform_core::session::{ClientEvent, EventBody};
use platform_messaging::proto::session::{EventsAppended, SendEvents, session_reply::Outcome};
use platform_storage::Connection;

use super::{Scope, Settled};
use crate::failure::CommandError;
use crate::redaction::Redaction;
use crate::{stored, unfinished};

pub async fn send_events(
    connection: &mut Connection,
    scope: Scope<'_>,
    command: SendEvents,
) -> Result<Settled, CommandError> {
    let redaction = Redaction::of(connection, scope.keys, scope.team, scope.session).await?;
    let events: Vec<ClientEvent> = redaction.read(&command.events)?;
    let mut conversation = stored::take_up(connection, scope.team, scope.session).await?;
    let interrupts = events.iter().any(|event| event.body == EventBody::UserInterrupt {});
    let unfinished = if interrupts {
        unfinished::of(connection, &conversation).await?
    } else {
        Unfinished::default()
    };
    let taken = conversation.send(events, unfinished, scope.moment)?;
    let aftermath = stored::store(connection, conversation, scope.moment).await?;
    let appended = EventsAppended {
        numbers: taken.iter().map(|taken| taken.number).collect(),
        turn_ids: taken
            .iter()
            .map(|taken| taken.turn.map_or_else(String::new, |turn| turn.uuid().to_string()))
            .collect(),
    };
    Ok(Settled { outcome: Outcome::Appended(appended), aftermath })
}
