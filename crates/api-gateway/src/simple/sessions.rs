//! `/api/sessions`

use actix_web::http::StatusCode;
use actix_web::web::{self, Data, Path};
use actix_web::{HttpRequest, HttpResponse, delete, get, post};
use platform_core::id::{AgentId, EnvironmentId, SessionId};
use platform_core::wire::TextOr;
use serde::Deserialize;
use serde_json::json;

use super::SimpleList;
use crate::body::JsonWithEvents;
use crate::caller::Caller;
use crate::events::stream;
use crate::minting::Minting;
use crate::platform::Platform;
use crate::problem::Problem;
use crate::query::Query;
use crate::sessions::create::{CreateSessionBody, Created, answer};
use crate::sessions::{self, SessionView};

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SimpleSessionBody {
    agent_id: AgentId,
    #[serde(default)]
    title: Option<String>,
    /// The caller's own key: asked again for the same agent, it gives the same live session.
    #[serde(default)]
    context: Option<String>,
    #[serde(default)]
    environment_id: Option<EnvironmentId>,
    /// The first message, if there is one already.
    #[serde(default)]
    text: Option<String>,
}

/// Opens a session.
#[utoipa::path(tag = "simple", request_body = SimpleSessionBody, responses(
    (status = 201, body = SessionView),
    (status = 200, body = SessionView, description = "The live session of the same context"),
    (status = 202, body = SessionView, description = "It will be there shortly"),
))]
#[post("/api/sessions")]
pub async fn create_session(
    caller: Caller,
    platform: Data<Platform>,
    minting: Minting,
    body: JsonWithEvents<SimpleSessionBody>,
) -> Result<HttpResponse, Problem> {
    let SimpleSessionBody { agent_id, title, context, environment_id, text } = body.0;
    let first = text.map(|text| vec![json!({"type": "user.message", "content": text})]);
    let body = CreateSessionBody {
        agent: TextOr::Text(agent_id.to_string()),
        environment_id,
        title,
        metadata: None,
        initial_events: first,
        vault_ids: None,
        context,
        resources: None,
        budget: None,
        environment_variables: None,
    };
    Ok(match sessions::create::create(caller, &platform, &minting, body).await? {
        Created::Opened(view) => answer(StatusCode::CREATED, &view),
        Created::Found(view) => answer(StatusCode::OK, &view),
        Created::Later(view) => answer(StatusCode::ACCEPTED, &view),
    })
}

/// Lists the team's sessions.
#[utoipa::path(tag = "simple", params(
    ("agent_id" = Option<String>, Query), ("status" = Option<String>, Query),
    ("context" = Option<String>, Query),
    ("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query),
), responses((status = 200, body = SimpleList<SessionView>)))]
#[get("/api/sessions")]
pub async fn list_sessions(
    caller: Caller,
    platform: Data<Platform>,
    query: Query,
) -> Result<web::Json<SimpleList<SessionView>>, Problem> {
    let (cursors, page) = sessions::list::list(caller, &platform, query).await?;
    let now = platform.clock.now();
    Ok(web::Json(cursors.list(page, |session| SessionView::new(session, now)).into()))
}

/// Shows a session.
#[utoipa::path(tag = "simple", responses((status = 200, body = SessionView)))]
#[get("/api/sessions/{session_id}")]
pub async fn get_session(
    caller: Caller,
    platform: Data<Platform>,
    id: Path<SessionId>,
) -> Result<web::Json<SessionView>, Problem> {
    sessions::get::read(caller, &platform, *id).await.map(web::Json)
}

/// Deletes a session.
#[utoipa::path(tag = "simple", responses((status = 204)))]
#[delete("/api/sessions/{session_id}")]
pub async fn delete_session(
    caller: Caller,
    platform: Data<Platform>,
    minting: Minting,
    id: Path<SessionId>,
) -> Result<HttpResponse, Problem> {
    sessions::delete::delete(caller, &platform, &minting, *id).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Streams the events of a session.
#[utoipa::path(tag = "simple", params(
    ("event_deltas[]" = Option<Vec<String>>, Query), ("after" = Option<i64>, Query),
    ("Last-Event-ID" = Option<i64>, Header),
), responses((status = 200, content_type = "text/event-stream", body = String)))]
#[get("/api/sessions/{session_id}/stream")]
pub async fn stream_session(
    caller: Caller,
    platform: Data<Platform>,
    id: Path<SessionId>,
    request: HttpRequest,
    query: Query,
) -> Result<HttpResponse, Problem> {
    stream::stream(caller, platform, *id, &request, query).await
}
