//! What a turn had begun and not ended when its sandbox was lost, read from the log.

use std::collections::HashSet;

use platform_core::conversation::{Conversation, Unfinished};
use platform_core::id::{EventId, TurnId};
use platform_core::session::{Event, EventBody, Session};
use platform_storage::event::{self, EventFilter};
use platform_storage::{Connection, Order};

use crate::failure::CommandError;

/// Only the last of many calls of a turn can be open.
const LAST_EVENTS: u32 = 200;

/// What of the turn under way is open. Nothing, when there is no turn.
pub async fn of(
    connection: &mut Connection,
    conversation: &Conversation,
) -> Result<Unfinished, CommandError> {
    let Some(turn) = conversation.open_turns().first() else {
        return Ok(Unfinished::default());
    };
    in_turn(connection, conversation.session(), turn.id, None).await
}

/// What a turn had begun and not ended by the event of number `through`, or by now.
pub async fn in_turn(
    connection: &mut Connection,
    session: &Session,
    turn: TurnId,
    through: Option<i64>,
) -> Result<Unfinished, CommandError> {
    let types = [
        "agent.tool_use",
        "agent.tool_result",
        "span.model_request_start",
        "span.model_request_end",
    ];
    let types = types.map(str::to_owned).to_vec();
    let filter = EventFilter { types, through, ..EventFilter::default() };
    let (team, id, order) = (session.team_id, session.id, Order::NewestFirst);
    let newest_first = event::list(connection, team, id, &filter, order, LAST_EVENTS).await?;
    let of_turn = newest_first.into_iter().filter(|event| event.turn_id == Some(turn));
    Ok(unfinished(of_turn))
}

fn unfinished(newest_first: impl Iterator<Item = Event>) -> Unfinished {
    let mut ended: HashSet<EventId> = HashSet::new();
    let mut open = Unfinished::default();
    for event in newest_first {
        match event.body {
            EventBody::AgentToolResult { tool_use_id, .. } => {
                ended.insert(tool_use_id);
            }
            EventBody::SpanModelRequestEnd { model_request_start_id, .. } => {
                ended.insert(model_request_start_id);
            }
            EventBody::AgentToolUse { .. } if !ended.contains(&event.id) => {
                open.calls.push(event.id);
            }
            EventBody::SpanModelRequestStart {} if !ended.contains(&event.id) => {
                open.span.get_or_insert(event.id);
            }
            EventBody::AgentToolUse { .. }
            | EventBody::SpanModelRequestStart {}
            | EventBody::UserMessage { .. }
            | EventBody::UserInterrupt {}
            | EventBody::UserToolConfirmation { .. }
            | EventBody::UserCustomToolResult { .. }
            | EventBody::AgentMessage { .. }
            | EventBody::AgentThinking { .. }
            | EventBody::AgentCustomToolUse { .. }
            | EventBody::AgentThreadContextCompacted {}
            | EventBody::SessionStatusRunning {}
            | EventBody::SessionStatusIdle { .. }
            | EventBody::SessionStatusRescheduled { .. }
            | EventBody::SessionStatusTerminated { .. }
            | EventBody::SessionError { .. }
            | EventBody::SessionUpdated { .. }
            | EventBody::SessionUsage { .. }
            | EventBody::SessionAlarm { .. }
            | EventBody::SessionContextRestored { .. }
            | EventBody::SessionDeleted {} => {}
        }
    }
    open.calls.reverse();
    open
}
