//! `/api/sessions/{session_id}/messages`, `/confirmations` and `/interrupt`

mod answer;

use std::time::Duration;

use actix_web::web::{self, Data, Path};
use actix_web::{HttpResponse, get, post};
use chrono::{DateTime, Utc};
use platform_core::id::{EventId, SessionId, TurnId};
use platform_core::session::{ClientEvent, ContentBlock, Event, EventBody};
use platform_core::turn::StopReason;
use platform_storage::Order;
use platform_storage::event::EventFilter;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::SimpleList;
use crate::body::{Json, JsonWithEvents};
use crate::caller::Caller;
use crate::cursor::{Cursors, List};
use crate::events::incoming::{self, Confirmation};
use crate::events::list;
use crate::events::send::{Accepted, send};
use crate::minting::Minting;
use crate::platform::Platform;
use crate::problem::Problem;
use crate::query::Query;

const LONGEST_WAIT: u64 = 300;

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SendMessageBody {
    text: String,
}

/// A message that was taken.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct MessageTaken {
    event_id: EventId,
    /// Absent while the outcome is not known.
    turn_id: Option<TurnId>,
}

/// What the agent said until its turn ended, or came to stand still.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct MessageAnswered {
    text: String,
    /// With `requires_action` the turn goes on once the calls of `waiting_for` are answered.
    stop_reason: StopReason,
    event_id: EventId,
    turn_id: TurnId,
    waiting_for: Vec<WaitingCall>,
}

/// A call of the agent that somebody has to answer.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct WaitingCall {
    event_id: EventId,
    name: String,
    #[schema(value_type = Object)]
    input: Map<String, Value>,
    /// The event that answers it: `user.tool_confirmation` or `user.custom_tool_result`.
    answer_with: &'static str,
}

/// Sends a message. With `wait` the answer comes in the same call, if the turn ends in time.
#[utoipa::path(tag = "simple", request_body = SendMessageBody, params(
    ("wait" = Option<u64>, Query, description = "Seconds, at most 300"),
), responses(
    (status = 202, body = MessageTaken),
    (status = 200, body = MessageAnswered, description = "With `wait`, when the turn has ended or waits for an answer in time"),
))]
#[post("/api/sessions/{session_id}/messages")]
pub async fn send_message(
    caller: Caller,
    platform: Data<Platform>,
    minting: Minting,
    id: Path<SessionId>,
    query: Query,
    body: JsonWithEvents<SendMessageBody>,
) -> Result<HttpResponse, Problem> {
    let wait = wait(query)?;
    let message = incoming::text_message(body.0.text, &minting)?;
    send_and_wait(caller, &platform, &minting, *id, message, wait).await
}

/// Allows or denies a call that the agent's turn waits for. With `wait` the turn's answer comes in the same call.
#[utoipa::path(tag = "simple", request_body = Confirmation, params(
    ("wait" = Option<u64>, Query, description = "Seconds, at most 300"),
), responses(
    (status = 202, body = MessageTaken),
    (status = 200, body = MessageAnswered, description = "With `wait`, when the turn has ended or waits for an answer in time"),
    (status = 400, description = "Not understood, or no such call waits for it"),
))]
#[post("/api/sessions/{session_id}/confirmations")]
pub async fn confirm(
    caller: Caller,
    platform: Data<Platform>,
    minting: Minting,
    id: Path<SessionId>,
    query: Query,
    body: Json<Confirmation>,
) -> Result<HttpResponse, Problem> {
    let wait = wait(query)?;
    let confirmation = incoming::confirmation(body.0, &minting)?;
    send_and_wait(caller, &platform, &minting, *id, confirmation, wait).await
}

/// Stops the turn that is under way.
#[utoipa::path(tag = "simple", responses((status = 202, body = MessageTaken)))]
#[post("/api/sessions/{session_id}/interrupt")]
pub async fn interrupt(
    caller: Caller,
    platform: Data<Platform>,
    minting: Minting,
    id: Path<SessionId>,
) -> Result<HttpResponse, Problem> {
    let event = ClientEvent { id: minting.id("event 0"), body: EventBody::UserInterrupt {} };
    let (event_id, turn_id) = send_one(caller, &platform, &minting, *id, event).await?;
    Ok(HttpResponse::Accepted().json(MessageTaken { event_id, turn_id }))
}

fn wait(mut query: Query) -> Result<Duration, Problem> {
    let wait = query.parsed::<u64>("wait")?.unwrap_or(0);
    query.finish()?;
    if wait > LONGEST_WAIT {
        return Err(Problem::invalid("wait: at most 300 seconds"));
    }
    Ok(Duration::from_secs(wait))
}

async fn send_and_wait(
    caller: Caller,
    platform: &Platform,
    minting: &Minting,
    session: SessionId,
    event: ClientEvent,
    wait: Duration,
) -> Result<HttpResponse, Problem> {
    let (event_id, turn_id) = send_one(caller, platform, minting, session, event).await?;
    let taken = MessageTaken { event_id, turn_id };
    let Some(turn_id) = turn_id.filter(|_| !wait.is_zero()) else {
        return Ok(HttpResponse::Accepted().json(taken));
    };
    let answered = answer::wait_for(platform, caller, session, turn_id, event_id, wait).await?;
    Ok(match answered {
        Some(answer) => HttpResponse::Ok().json(answer),
        None => HttpResponse::Accepted().json(taken),
    })
}

async fn send_one(
    caller: Caller,
    platform: &Platform,
    minting: &Minting,
    session: SessionId,
    event: ClientEvent,
) -> Result<(EventId, Option<TurnId>), Problem> {
    let sent = std::slice::from_ref(&event);
    Ok(match send(caller, platform, minting, session, sent).await? {
        Accepted::Stored(events) => {
            let stored = events.first();
            (stored.map_or(event.id, |stored| stored.id), stored.and_then(|stored| stored.turn_id))
        }
        Accepted::Later => (event.id, None),
    })
}

/// One thing that was said.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct MessageView {
    /// user or agent.
    role: &'static str,
    text: String,
    /// When it was taken into the log; for a user's message when its turn began, so null while that waits.
    at: Option<DateTime<Utc>>,
    event_id: EventId,
}

/// Lists what was said in a session, oldest first.
#[utoipa::path(tag = "simple", params(
    ("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query),
), responses((status = 200, body = SimpleList<MessageView>)))]
#[get("/api/sessions/{session_id}/messages")]
pub async fn list_messages(
    caller: Caller,
    platform: Data<Platform>,
    id: Path<SessionId>,
    mut query: Query,
) -> Result<web::Json<SimpleList<MessageView>>, Problem> {
    let cursors = Cursors::of(caller.team(), &mut query)?;
    let types = vec!["user.message".to_owned(), "agent.message".to_owned()];
    let filter = EventFilter { types, past: cursors.place()?, ..EventFilter::default() };
    let order = query.order(Order::OldestFirst)?;
    let limit = query.limit(20, 1000)?;
    query.finish()?;
    let List { data, next_page } =
        list::list(caller, &platform, *id, &cursors, filter, order, limit).await?;
    let data = data.into_iter().filter_map(view).collect();
    Ok(web::Json(List { data, next_page }.into()))
}

fn view(event: Event) -> Option<MessageView> {
    let role = if event.body.may_come_from_client() { "user" } else { "agent" };
    let (EventBody::UserMessage { content } | EventBody::AgentMessage { content }) = event.body
    else {
        return None;
    };
    Some(MessageView { role, text: text_of(&content), at: event.processed_at, event_id: event.id })
}

fn text_of(content: &[ContentBlock]) -> String {
    content.iter().filter_map(ContentBlock::as_text).collect::<Vec<_>>().join("\n")
}
