//! Opens a session with what another one was at an earlier point.

use std::collections::BTreeSet;

use platform_core::conversation::{Conversation, ForkDescription, ForkPoint, Refusal, Unfinished};
use platform_core::id::{SessionId, TurnId};
use platform_core::session::Session;
use platform_messaging::proto::session::{ForkSession, session_reply::Outcome};
use platform_storage::event::{self, EventFilter};
use platform_storage::{Connection, Order, session, snapshot, turn};

use super::{Scope, Settled, open_session, parse_id};
use crate::aftermath::Aftermath;
use crate::failure::CommandError;
use crate::{stored, unfinished};

/// Ends of turns that are read at once.
const PAGE: u32 = 1000;

/// What an agent at work leaves in the log.
const WORK: [&str; 7] = [
    "agent.message",
    "agent.thinking",
    "agent.tool_use",
    "agent.tool_result",
    "agent.custom_tool_use",
    "span.model_request_start",
    "span.model_request_end",
];

pub async fn fork_session(
    connection: &mut Connection,
    scope: Scope<'_>,
    command: ForkSession,
) -> Result<Settled, CommandError> {
    let source_id = SessionId::from_uuid(parse_id(&command.source_session_id)?);
    // Locked, so that its log does not grow while it is looked at.
    let source = session::lock(connection, scope.team, source_id).await?;
    let source = source.ok_or_else(CommandError::no_such_session)?;
    if !(0..=source.last_event).contains(&command.at_event) {
        return Err(Refusal::NoSuchEvent(command.at_event, source.last_event).into());
    }
    let at_event = if command.at_event == 0 { source.last_event } else { command.at_event };
    let turns = turn::opened_through(connection, scope.team, source_id, at_event).await?;
    let point = point(connection, &source, at_event).await?;
    let description = ForkDescription {
        context: command.context,
        title: command.title,
        metadata: serde_json::from_slice(&command.metadata)?,
    };
    let moment = scope.moment;
    let fork = Conversation::fork(&source, scope.session, description, turns, &point, moment);
    let session = fork.conversation.session();
    if let Some(turn) = session.forked_from.and_then(|origin| origin.turn_id)
        && !snapshot::exists(connection, scope.team, source_id, turn).await?
    {
        return Err(Refusal::NoSnapshot.into());
    }
    let outcome = open_session::opened(session, true);
    match stored::store_fork(connection, fork, moment).await? {
        Some(aftermath) => Ok(Settled { outcome, aftermath }),
        None => repeated(connection, scope, outcome).await,
    }
}

/// The id is taken by an earlier delivery of this command, or the context by another live session.
async fn repeated(
    connection: &mut Connection,
    scope: Scope<'_>,
    outcome: Outcome,
) -> Result<Settled, CommandError> {
    if session::lock(connection, scope.team, scope.session).await?.is_some() {
        return Ok(Settled { outcome, aftermath: Aftermath::default() });
    }
    Err(Refusal::ContextTaken.into())
}

async fn point(
    connection: &mut Connection,
    source: &Session,
    at_event: i64,
) -> Result<ForkPoint, CommandError> {
    let last_at_work = last_at_work(connection, source, at_event).await?;
    let unfinished = match last_at_work {
        Some(turn) => unfinished::in_turn(connection, source, turn, Some(at_event)).await?,
        None => Unfinished::default(),
    };
    let ended = ended(connection, source, at_event).await?;
    Ok(ForkPoint { at_event, ended, last_at_work, unfinished })
}

async fn last_at_work(
    connection: &mut Connection,
    source: &Session,
    at_event: i64,
) -> Result<Option<TurnId>, CommandError> {
    let types = WORK.map(str::to_owned).to_vec();
    let filter = EventFilter { types, through: Some(at_event), ..EventFilter::default() };
    let (team, id) = (source.team_id, source.id);
    let last = event::list(connection, team, id, &filter, Order::NewestFirst, 1).await?;
    Ok(last.into_iter().next().and_then(|event| event.turn_id))
}

/// The turns whose end is in the log by then.
async fn ended(
    connection: &mut Connection,
    source: &Session,
    at_event: i64,
) -> Result<BTreeSet<TurnId>, CommandError> {
    let types = vec!["session.status_idle".to_owned()];
    let mut filter = EventFilter { types, through: Some(at_event), ..EventFilter::default() };
    let mut ended = BTreeSet::new();
    loop {
        let (team, id, order) = (source.team_id, source.id, Order::OldestFirst);
        let page = event::list(connection, team, id, &filter, order, PAGE).await?;
        let Some(last) = page.last() else { return Ok(ended) };
        filter.past = Some(last.number);
        ended.extend(page.into_iter().filter_map(|event| {
            let turn = event.turn_id?;
            event.body.is_end_of_turn().then_some(turn)
        }));
    }
}
