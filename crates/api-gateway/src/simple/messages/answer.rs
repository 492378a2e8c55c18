//! Waiting for the end of a turn inside one call.

use std::time::Duration;

use platform_core::id::{EventId, SessionId, TurnId};
use platform_core::session::EventBody;
use platform_core::turn::{StopReason, TurnState};
use platform_storage::event::{self, EventFilter};
use platform_storage::{Connection, Order, turn};
use tokio::time::{Instant, timeout_at};

use super::{MessageAnswered, text_of};
use crate::caller::Caller;
use crate::platform::Platform;
use crate::problem::Problem;

/// Announcements are hints; without one the turn is looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const MOST_MESSAGES: u32 = 1000;

/// What the agent said in the turn, or `None` when it has not ended in time.
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
        if let Some(stop_reason) = ending(&mut connection, caller, turn).await? {
            let text = text(&mut connection, caller, session, turn).await?;
            return Ok(Some(MessageAnswered { text, stop_reason, event_id, turn_id: turn }));
        }
        drop(connection);
        if Instant::now() >= deadline {
            return Ok(None);
        }
        let look_at = deadline.min(Instant::now() + LOOK_EVERY);
        // Any announcement, and none in time, are reasons to look again.
        let _announced = timeout_at(look_at, subscription.committed()).await;
    }
}

async fn ending(
    connection: &mut Connection,
    caller: Caller,
    id: TurnId,
) -> Result<Option<StopReason>, Problem> {
    let Some(turn) = turn::find(connection, caller.team(), id).await? else {
        return Err(Problem::not_found("turn", id));
    };
    Ok(match turn.state {
        TurnState::Ended { reason, .. } => Some(reason),
        TurnState::Queued | TurnState::Dispatched { .. } | TurnState::Running { .. } => None,
    })
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
