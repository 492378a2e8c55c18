//! Waiting inside one call until a turn ends, or stands still.

use std::time::Duration;

use platform_core::id::{EventId, SessionId, TurnId};
use platform_core::session::{Event, EventBody};
use platform_core::turn::{ActionKind, StopReason, TurnState};
use platform_storage::event::{self, EventFilter};
use platform_storage::{Connection, Order, turn};
use tokio::time::{Instant, timeout_at};

use super::{MessageAnswered, WaitingCall, text_of};
use crate::caller::Caller;
use crate::platform::Platform;
use crate::problem::Problem;

/// Announcements are hints; without one the turn is looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const MOST_MESSAGES: u32 = 1000;

/// What the agent said in the turn, or `None` when it neither ended nor came to wait for an answer in time.
pub(super) async fn wait_for(
    platform: &Platform,
    caller: Caller,
    session: SessionId,
    turn: TurnId,
    event_id: EventId,
    patience: Duration,
) -> Result<Option<MessageAnswered>, Problem> {
    let deadline = Instant::now() + patience;
    let mut subscription = platform.hub.subscribe(session).await;
    loop {
        let mut connection = platform.database.connection().await?;
        if let Some((stop_reason, calls)) = ending(&mut connection, caller, session, turn).await? {
            let text = text(&mut connection, caller, session, turn).await?;
            let waiting_for = waiting_for(&mut connection, caller, session, &calls).await?;
            let answered =
                MessageAnswered { text, stop_reason, event_id, turn_id: turn, waiting_for };
            return Ok(Some(answered));
        }
        drop(connection);
        if Instant::now() >= deadline {
            return Ok(None);
        }
        let look_at = deadline.min(Instant::now() + LOOK_EVERY);
        tokio::select! {
            // Any announcement, and none in time, are reasons to look again.
            _ = timeout_at(look_at, subscription.committed()) => {}
            // The message is taken, and the answer can be read elsewhere.
            () = platform.shutdown.cancelled() => return Ok(None),
        }
    }
}

/// Why the turn goes no further, and the calls that it waits for.
async fn ending(
    connection: &mut Connection,
    caller: Caller,
    session: SessionId,
    id: TurnId,
) -> Result<Option<(StopReason, Vec<EventId>)>, Problem> {
    let Some(turn) = turn::find(connection, caller.team(), id).await? else {
        return Err(Problem::not_found("turn", id));
    };
    let unanswered = turn.unanswered();
    Ok(match turn.state {
        TurnState::Ended { reason, .. } => Some((reason, Vec::new())),
        // Nothing more comes until somebody answers.
        TurnState::Waiting { .. } => Some((StopReason::RequiresAction, unanswered)),
        TurnState::Queued => halted_for_money(connection, caller, session).await?,
        TurnState::Dispatched { .. } | TurnState::Running { .. } => None,
    })
}

/// Whether the session stands still until a budget is raised.
async fn halted_for_money(
    connection: &mut Connection,
    caller: Caller,
    session: SessionId,
) -> Result<Option<(StopReason, Vec<EventId>)>, Problem> {
    let team = caller.team();
    let moves = ["session.status_idle", "session.status_running", "session.status_rescheduled"];
    let types = moves.map(str::to_owned).to_vec();
    let filter = EventFilter { types, ..EventFilter::default() };
    let last = event::list(connection, team, session, &filter, Order::NewestFirst, 1).await?;
    let Some(EventBody::SessionStatusIdle { stop_reason }) =
        last.into_iter().next().map(|e| e.body)
    else {
        return Ok(None);
    };
    let is_halt = stop_reason.reason == StopReason::BudgetReached;
    Ok(is_halt.then(|| (StopReason::BudgetReached, Vec::new())))
}

async fn waiting_for(
    connection: &mut Connection,
    caller: Caller,
    session: SessionId,
    calls: &[EventId],
) -> Result<Vec<WaitingCall>, Problem> {
    if calls.is_empty() {
        return Ok(Vec::new());
    }
    let events = event::by_ids(connection, caller.team(), session, calls).await?;
    Ok(events.into_iter().filter_map(waiting_call).collect())
}

fn waiting_call(event: Event) -> Option<WaitingCall> {
    let answer_with = match event.body.required_action()? {
        ActionKind::Confirmation => "user.tool_confirmation",
        ActionKind::CustomTool => "user.custom_tool_result",
    };
    let (EventBody::AgentToolUse { name, input, .. }
    | EventBody::AgentCustomToolUse { name, input }) = event.body
    else {
        return None;
    };
    Some(WaitingCall { event_id: event.id, name, input, answer_with })
}

/// The texts of the turn's messages. They are among the last of the log, because turns run one after the other.
async fn text(
    connection: &mut Connection,
    caller: Caller,
    session: SessionId,
    turn: TurnId,
) -> Result<String, Problem> {
    let filter = EventFilter { types: vec!["agent.message".to_owned()], ..EventFilter::default() };
    let order = Order::NewestFirst;
    let team = caller.team();
    let mut events = event::list(connection, team, session, &filter, order, MOST_MESSAGES).await?;
    events.reverse();
    let said = events.into_iter().filter(|event| event.turn_id == Some(turn));
    let texts = said.filter_map(|event| {
        if let EventBody::AgentMessage { content } = event.body {
            Some(text_of(&content))
        } else {
            None
        }
    });
    Ok(texts.collect::<Vec<_>>().join("\n\n"))
}
