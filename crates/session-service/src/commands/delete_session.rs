//! Removes a session with its log, turns and workspace.

use platform_core::id::EventId;
use platform_core::session::{Event, EventBody};
use platform_messaging::proto::session::{Done, session_reply::Outcome};
use platform_storage::{Connection, idempotency, outbox, secret, session};

use super::{Scope, Settled};
use crate::aftermath::Aftermath;
use crate::failure::CommandError;
use crate::{outgoing, stored};

pub async fn delete_session(
    connection: &mut Connection,
    scope: Scope<'_>,
) -> Result<Settled, CommandError> {
    let mut conversation = stored::take_up(connection, scope.team, scope.session).await?;
    conversation.delete();
    let (deleted, changes) = conversation.into_parts();
    let messages = outgoing::compose(connection, &deleted, changes.outgoing, scope.moment).await?;
    idempotency::forget_session(connection, scope.team, scope.session).await?;
    session::delete(connection, scope.team, scope.session).await?;
    secret::delete_of(connection, scope.team, scope.session.uuid()).await?;
    outbox::put(connection, &messages).await?;
    // The last word to whoever listens. It is in no log: the log is gone.
    let farewell = Event {
        id: EventId::mint(scope.moment.ids),
        number: deleted.last_event + 1,
        turn_id: None,
        processed_at: Some(scope.moment.now),
        body: EventBody::SessionDeleted {},
    };
    let aftermath = Aftermath {
        team: Some(scope.team),
        session: Some(scope.session),
        events: vec![farewell],
        messages,
    };
    Ok(Settled { outcome: Outcome::Done(Done {}), aftermath })
}
