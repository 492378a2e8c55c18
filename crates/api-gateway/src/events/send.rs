//! `POST /v1/sessions/{session_id}/events`

use actix_web::web::{Data, Path};
use actix_web::{HttpResponse, post};
use platform_core::id::SessionId;
use platform_core::session::{ClientEvent, Event};
use platform_messaging::proto::session::SendEvents;
use platform_messaging::proto::session::session_command::Action;
use platform_messaging::proto::session::session_reply::Outcome;
use platform_storage::event;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::warn;

use crate::body::JsonWithEvents;
use crate::caller::Caller;
use crate::commands::{Sent, unreadable};
use crate::events::incoming;
use crate::minting::Minting;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::sessions;

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SendEventsBody {
    /// `user.message`, `user.interrupt`, `user.tool_confirmation` and `user.custom_tool_result`, in order.
    events: Vec<Value>,
}

/// The stored events, each with its id.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SentEvents {
    data: Vec<Event>,
}

/// Sends events to a session: all of them are stored, or none.
#[utoipa::path(tag = "events", request_body = SendEventsBody, responses(
    (status = 200, body = SentEvents),
    (status = 202, body = SentEvents, description = "They will be stored shortly"),
    (status = 400, body = ErrorEnvelope, description = "Not understood, no such call waits for an answer, or the session takes no more messages"),
    (status = 404, body = ErrorEnvelope),
    (status = 413, body = ErrorEnvelope),
))]
#[post("/v1/sessions/{session_id}/events")]
pub async fn send_events(
    caller: Caller,
    platform: Data<Platform>,
    minting: Minting,
    id: Path<SessionId>,
    body: JsonWithEvents<SendEventsBody>,
) -> Result<HttpResponse, Problem> {
    let events = incoming::parse(body.0.events, &minting)?;
    Ok(match send(caller, &platform, &minting, *id, &events).await? {
        Accepted::Stored(events) => HttpResponse::Ok().json(SentEvents { data: events }),
        Accepted::Later => HttpResponse::Accepted().json(json!({"data": expected(&events)})),
    })
}

/// What became of events that were not refused.
pub enum Accepted {
    Stored(Vec<Event>),
    /// The command was taken, and the outcome is not known yet.
    Later,
}

pub async fn send(
    caller: Caller,
    platform: &Platform,
    minting: &Minting,
    session: SessionId,
    events: &[ClientEvent],
) -> Result<Accepted, Problem> {
    let action = Action::SendEvents(SendEvents { events: incoming::to_json(&events)? });
    let sent = platform.commands.send(minting.command_id(), caller.team(), session, action);
    let appended = match sent.await {
        Ok(Sent::Answered(Outcome::Appended(appended))) => appended,
        Ok(Sent::Answered(_)) => return Err(unreadable()),
        Ok(Sent::Taken) => {
            // Nothing was promised about a session that does not exist.
            let mut connection = platform.database.connection().await?;
            sessions::find(&mut connection, caller.team(), session).await?;
            return Ok(Accepted::Later);
        }
        Err(problem) => return Err(problem),
    };
    let stored = async {
        let mut connection = platform.database.connection().await?;
        event::by_numbers(&mut connection, caller.team(), session, &appended.numbers).await
    };
    match stored.await {
        // Without a session there is no log: this is a repeat, and the session was deleted since.
        Ok(events) if events.is_empty() => Err(Problem::not_found("session", session)),
        Ok(events) => Ok(Accepted::Stored(events)),
        // They are stored. A failure now would have them sent a second time.
        Err(failure) => {
            warn!(%failure, session.id = %session, "stored events cannot be read now");
            Ok(Accepted::Later)
        }
    }
}

/// The events as they will be stored, for a caller who is answered before they are; the number in the log is not known yet.
fn expected(events: &[ClientEvent]) -> Vec<Value> {
    let with_id = |event: &ClientEvent| {
        let mut shown = json!(event.body);
        if let Some(fields) = shown.as_object_mut() {
            fields.insert("id".to_owned(), json!(event.id));
            fields.insert("processed_at".to_owned(), Value::Null);
        }
        shown
    };
    events.iter().map(with_id).collect()
}
