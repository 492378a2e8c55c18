//! `GET /v1/sessions/{session_id}/events`

use actix_web::get;
use actix_web::web::{Data, Json, Path};
use platform_core::id::SessionId;
use platform_core::session::Event;
use platform_storage::Order;
use platform_storage::event::{self, EventFilter};

use crate::caller::Caller;
use crate::cursor::{Cursors, List};
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::query::Query;
use crate::sessions;

/// Lists the events of a session by their numbers, oldest first unless `order` is `desc`.
#[utoipa::path(tag = "events", params(
    ("types[]" = Option<Vec<String>>, Query),
    ("created_at[gt]" = Option<String>, Query), ("created_at[gte]" = Option<String>, Query),
    ("created_at[lt]" = Option<String>, Query), ("created_at[lte]" = Option<String>, Query),
    ("order" = Option<String>, Query),
    ("limit" = Option<u32>, Query), ("page" = Option<String>, Query),
), responses(
    (status = 200, body = List<Event>),
    (status = 400, body = ErrorEnvelope),
    (status = 404, body = ErrorEnvelope),
))]
#[get("/v1/sessions/{session_id}/events")]
pub async fn list_events(
    caller: Caller,
    platform: Data<Platform>,
    id: Path<SessionId>,
    mut query: Query,
) -> Result<Json<List<Event>>, Problem> {
    let cursors = Cursors::of(caller.team(), &mut query)?;
    let filter = EventFilter {
        types: query.list("types"),
        created: query.range("created_at")?,
        past: cursors.place()?,
        through: None,
    };
    let order = query.order(Order::OldestFirst)?;
    let limit = query.limit(20, 1000)?;
    query.finish()?;
    list(caller, &platform, *id, &cursors, filter, order, limit).await.map(Json)
}

/// One page of a session's events.
pub async fn list(
    caller: Caller,
    platform: &Platform,
    session: SessionId,
    cursors: &Cursors,
    filter: EventFilter,
    order: Order,
    limit: u32,
) -> Result<List<Event>, Problem> {
    let mut connection = platform.database.connection().await?;
    sessions::find(&mut connection, caller.team(), session).await?;
    // One more than asked for tells whether there is a further page.
    let team = caller.team();
    let mut events = event::list(&mut connection, team, session, &filter, order, limit + 1).await?;
    let page_size = usize::try_from(limit).unwrap_or(usize::MAX);
    let is_more = events.len() > page_size;
    events.truncate(page_size);
    let last = events.last().map(|event| event.number).filter(|_| is_more);
    Ok(List { data: events, next_page: last.map(|number| cursors.seal(number)) })
}
