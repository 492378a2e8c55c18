//! `GET /v1/sessions/{session_id}/events/stream`

use actix_web::http::header::{CACHE_CONTROL, HeaderName};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse, get};
use platform_core::failure::FailureKind;
use platform_core::id::SessionId;

use crate::caller::Caller;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::query::Query;
use crate::stream::{Extras, Feed, PreviewKind, Start};

const LAST_EVENT_ID: &str = "last-event-id";
/// Tells nginx and its like to pass every frame on at once.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Streams the events of a session as they are committed, and previews of the types asked for.
///
/// Each event's number is its SSE id. With `Last-Event-ID` or `after` the stream begins with what follows that event, else with what is
/// committed from now on. Previews and `egress` frames have no id and are never shown again.
#[utoipa::path(tag = "events", params(
    ("event_deltas[]" = Option<Vec<String>>, Query, description = "agent.message, agent.thinking"),
    ("include[]" = Option<Vec<String>>, Query, description = "egress: what the way out decides, as frames named `egress`"),
    ("after" = Option<i64>, Query, description = "An event's number; 0 is the beginning"),
    ("Last-Event-ID" = Option<i64>, Header),
), responses(
    (status = 200, content_type = "text/event-stream", body = String),
    (status = 400, body = ErrorEnvelope, description = "Also `cursor_beyond_end`: the session has no event of that number yet"),
    (status = 404, body = ErrorEnvelope),
    (status = 503, body = ErrorEnvelope, description = "This server ends; come again at once"),
))]
#[get("/v1/sessions/{session_id}/events/stream")]
pub async fn stream_events(
    caller: Caller,
    platform: Data<Platform>,
    id: Path<SessionId>,
    request: HttpRequest,
    query: Query,
) -> Result<HttpResponse, Problem> {
    stream(caller, platform, *id, &request, query).await
}

pub async fn stream(
    caller: Caller,
    platform: Data<Platform>,
    session: SessionId,
    request: &HttpRequest,
    mut query: Query,
) -> Result<HttpResponse, Problem> {
    let previews = query.list("event_deltas");
    let previews = previews.iter().map(|word| kind(word)).collect::<Result<Vec<_>, _>>()?;
    let included = query.list("include");
    if let Some(other) = included.iter().find(|word| word.as_str() != "egress") {
        return Err(Problem::invalid(format!("include: only egress can be, not {other:?}")));
    }
    let extras = Extras { previews, egress: !included.is_empty() };
    let after = query.parsed::<i64>("after")?;
    query.finish()?;
    let last_seen = match request.headers().get(LAST_EVENT_ID) {
        None => after,
        Some(value) => Some(
            value.to_str().ok().and_then(|text| text.trim().parse().ok()).ok_or_else(|| {
                Problem::invalid(
                    "Last-Event-ID: this is the number of an event, as its `id:` line has it",
                )
            })?,
        ),
    };
    if last_seen.is_some_and(|number| number < 0) {
        return Err(Problem::invalid(
            "the number of an event is 1 or more, and 0 is the beginning",
        ));
    }
    if platform.shutdown.is_cancelled() {
        let message = "this server ends; another one has the stream";
        return Err(Problem::new(FailureKind::Unavailable, message).retry_after(1));
    }
    let start = last_seen.map_or(Start::Now, Start::After);
    let feed = Feed::open(platform, caller, session, start, extras).await?;
    Ok(HttpResponse::Ok()
        // Whoever comes back after the end comes to where the balancer says, not to here by an old connection.
        .force_close()
        .content_type("text/event-stream")
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header((UNBUFFERED, "no"))
        .streaming(feed.into_stream()))
}

fn kind(word: &str) -> Result<PreviewKind, Problem> {
    PreviewKind::from_word(word).ok_or_else(|| {
        Problem::invalid(format!(
            "event_deltas: {word:?} is neither agent.message nor agent.thinking"
        ))
    })
}
