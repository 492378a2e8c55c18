//! `GET /v1/sessions/{session_id}`

use actix_web::get;
use actix_web::web::{Data, Json, Path};
use platform_core::id::SessionId;

use crate::caller::Caller;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::sessions::{self, SessionView};

/// Shows a session.
#[utoipa::path(tag = "sessions", responses(
    (status = 200, body = SessionView),
    (status = 404, body = ErrorEnvelope),
))]
#[get("/v1/sessions/{session_id}")]
pub async fn get_session(
    caller: Caller,
    platform: Data<Platform>,
    id: Path<SessionId>,
) -> Result<Json<SessionView>, Problem> {
    read(caller, &platform, *id).await.map(Json)
}

pub async fn read(
    caller: Caller,
    platform: &Platform,
    id: SessionId,
) -> Result<SessionView, Problem> {
    let mut connection = platform.database.connection().await?;
    let session = sessions::find(&mut connection, caller.team(), id).await?;
    SessionView::read(&mut connection, session, platform.clock.now()).await
}
