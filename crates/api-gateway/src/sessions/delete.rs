//! `DELETE /v1/sessions/{session_id}`

use actix_web::web::{Data, Path};
use actix_web::{HttpResponse, delete};
use platform_core::id::SessionId;
use platform_messaging::proto::session::DeleteSession;
use platform_messaging::proto::session::session_command::Action;
use serde::Serialize;

use crate::caller::Caller;
use crate::commands::Sent;
use crate::minting::Minting;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::sessions;

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SessionDeleted {
    id: SessionId,
    /// Always `session_deleted`.
    r#type: &'static str,
}

/// Deletes a session with its log and its workspace. Streams of it end.
#[utoipa::path(tag = "sessions", responses(
    (status = 200, body = SessionDeleted),
    (status = 202, body = SessionDeleted, description = "It will be gone shortly"),
    (status = 404, body = ErrorEnvelope),
))]
#[delete("/v1/sessions/{session_id}")]
pub async fn delete_session(
    caller: Caller,
    platform: Data<Platform>,
    minting: Minting,
    id: Path<SessionId>,
) -> Result<HttpResponse, Problem> {
    let deleted = SessionDeleted { id: *id, r#type: "session_deleted" };
    Ok(match delete(caller, &platform, &minting, *id).await? {
        Sent::Answered(_) => HttpResponse::Ok().json(deleted),
        Sent::Taken => HttpResponse::Accepted().json(deleted),
    })
}

pub async fn delete(
    caller: Caller,
    platform: &Platform,
    minting: &Minting,
    id: SessionId,
) -> Result<Sent, Problem> {
    let mut connection = platform.database.connection().await?;
    sessions::find(&mut connection, caller.team(), id).await?;
    drop(connection);
    let action = Action::Delete(DeleteSession {});
    platform.commands.send(minting.command_id(), caller.team(), id, action).await
}
