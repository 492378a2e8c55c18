//! `GET /v1/sessions`

use actix_web::get;
use actix_web::web::{Data, Json};
use platform_core::session::{Session, SessionStatus};
use platform_storage::session::{self, SessionFilter};
use platform_storage::{Order, Page};
use serde::Serialize;

use crate::caller::Caller;
use crate::cursor::Cursors;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::query::Query;
use crate::sessions::SessionView;

/// The one list that can be paged in both directions.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SessionList {
    data: Vec<SessionView>,
    next_page: Option<String>,
    prev_page: Option<String>,
}

/// Lists the team's sessions, newest first unless `order` is `asc`.
#[utoipa::path(tag = "sessions", params(
    ("agent_id" = Option<String>, Query), ("agent_version" = Option<i32>, Query),
    ("statuses[]" = Option<Vec<SessionStatus>>, Query), ("context" = Option<String>, Query),
    ("created_at[gt]" = Option<String>, Query), ("created_at[gte]" = Option<String>, Query),
    ("created_at[lt]" = Option<String>, Query), ("created_at[lte]" = Option<String>, Query),
    ("include_archived" = Option<bool>, Query), ("order" = Option<String>, Query),
    ("limit" = Option<u32>, Query), ("page" = Option<String>, Query),
), responses((status = 200, body = SessionList), (status = 400, body = ErrorEnvelope)))]
#[get("/v1/sessions")]
pub async fn list_sessions(
    caller: Caller,
    platform: Data<Platform>,
    query: Query,
) -> Result<Json<SessionList>, Problem> {
    let (cursors, page) = list(caller, &platform, query).await?;
    let now = platform.clock.now();
    let prev_page = cursors.previous(&page);
    let list = cursors.list(page, |session| SessionView::new(session, now));
    Ok(Json(SessionList { data: list.data, next_page: list.next_page, prev_page }))
}

pub async fn list(
    caller: Caller,
    platform: &Platform,
    mut query: Query,
) -> Result<(Cursors, Page<Session>), Problem> {
    let cursors = Cursors::of(caller.team(), &mut query)?;
    let mut statuses = query.list("statuses");
    statuses.extend(query.list("status"));
    let filter = SessionFilter {
        agent_id: query.parsed("agent_id")?,
        agent_version: query.parsed("agent_version")?,
        statuses: statuses.iter().map(|word| status(word)).collect::<Result<_, _>>()?,
        created: query.range("created_at")?,
        context: query.text("context")?,
        include_archived: query.flag("include_archived")?,
    };
    if filter.agent_version.is_some() && filter.agent_id.is_none() {
        return Err(Problem::invalid("agent_version: give agent_id with it"));
    }
    // Deployments and memory stores are not served yet, so no session belongs to one.
    let belongs_to_none = ["deployment_id", "memory_store_id"]
        .into_iter()
        .map(|key| query.text(key))
        .collect::<Result<Vec<_>, _>>()?
        .iter()
        .any(Option::is_some);
    let order = query.order(Order::NewestFirst)?;
    let request = cursors.page_request(order, query.limit(20, 1000)?)?;
    query.finish()?;
    if belongs_to_none {
        return Ok((cursors, Page { items: Vec::new(), next: None, previous: None }));
    }
    let mut connection = platform.database.connection().await?;
    let page = session::list(&mut connection, caller.team(), &filter, request).await?;
    Ok((cursors, page))
}

fn status(word: &str) -> Result<SessionStatus, Problem> {
    SessionStatus::from_word(word).ok_or_else(|| {
        let message =
            format!("statuses: {word:?} is none of idle, running, rescheduling, terminated");
        Problem::invalid(message)
    })
}
