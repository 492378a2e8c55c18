//! A conversation between its rows and its rules: taken up under the row lock, stored with all that came of it.

use futures::try_join;
use platform_core::conversation::{Changes, Conversation, Fork, Moment};
use platform_core::id::{SessionId, TeamId};
use platform_core::session::{EventBody, Session};
use platform_storage::{Connection, event, outbox, secret, session, team, turn};

use crate::aftermath::Aftermath;
use crate::failure::CommandError;
use crate::outgoing;

/// Takes up a session; until the transaction ends nobody else can.
pub async fn take_up(
    connection: &mut Connection,
    team: TeamId,
    id: SessionId,
) -> Result<Conversation, CommandError> {
    let connection = &*connection;
    // In one go: PostgreSQL looks at the turns when it has the lock.
    let (session, open, last_ordinal, allowance) = try_join!(
        session::lock(connection, team, id),
        turn::open_turns(connection, team, id),
        turn::last_ordinal(connection, team, id),
        team::allowance(connection, team),
    )?;
    let session = session.ok_or_else(CommandError::no_such_session)?;
    Ok(Conversation::resume(session, open, last_ordinal).of_team(allowance))
}

/// Stores what happened: the session's row, its new events, its turns, and what has to be sent.
pub async fn store(
    connection: &mut Connection,
    conversation: Conversation,
    moment: Moment<'_>,
) -> Result<Aftermath, CommandError> {
    let (session, changes) = conversation.into_parts();
    let is_described_anew =
        changes.events.iter().any(|event| matches!(event.body, EventBody::SessionUpdated { .. }));
    let shared = &*connection;
    let update = async {
        if is_described_anew {
            session::update(shared, &session).await?;
        } else {
            // Most commands leave title, metadata and agent as they are, and those can be long.
            session::update_state(shared, &session).await?;
        }
        Ok(())
    };
    try_join!(update, append(shared, &session, &changes, moment))?;
    send(connection, &session, changes, moment).await
}

/// Stores a session that did not exist before, as [`store`] does.
///
/// `None`, with nothing stored: the id is taken, or the context has a live session.
pub async fn store_new(
    connection: &mut Connection,
    conversation: Conversation,
    moment: Moment<'_>,
) -> Result<Option<Aftermath>, CommandError> {
    let (session, changes) = conversation.into_parts();
    if !session::insert(connection, &session).await? {
        return Ok(None);
    }
    append(connection, &session, &changes, moment).await?;
    send(connection, &session, changes, moment).await.map(Some)
}

/// Stores a session that begins with a copy of another one's log, as [`store`] does.
pub async fn store_fork(
    connection: &mut Connection,
    fork: Fork,
    moment: Moment<'_>,
) -> Result<Option<Aftermath>, CommandError> {
    let (session, changes) = fork.conversation.into_parts();
    let origin = session.forked_from.ok_or_else(|| CommandError::invalid("a fork of nothing"))?;
    if !session::insert(connection, &session).await? {
        return Ok(None);
    }
    let (team, through) = (session.team_id, origin.at_event);
    event::copy(connection, team, origin.session_id, through, session.id, &fork.turns).await?;
    secret::copy_many(connection, team, &fork.secrets, session.id.uuid(), moment.now).await?;
    append(connection, &session, &changes, moment).await?;
    send(connection, &session, changes, moment).await.map(Some)
}

async fn append(
    connection: &Connection,
    session: &Session,
    changes: &Changes,
    moment: Moment<'_>,
) -> Result<(), CommandError> {
    let (team, id) = (session.team_id, session.id);
    try_join!(
        turn::save(connection, team, id, changes.turns.values()),
        event::append(connection, team, id, moment.now, &changes.events),
    )?;
    Ok(())
}

async fn send(
    connection: &mut Connection,
    session: &Session,
    changes: Changes,
    moment: Moment<'_>,
) -> Result<Aftermath, CommandError> {
    let (team, id) = (session.team_id, session.id);
    let messages = outgoing::compose(connection, session, changes.outgoing, moment).await?;
    outbox::put(connection, &messages).await?;
    Ok(Aftermath { team: Some(team), session: Some(id), events: changes.events, messages })
}
