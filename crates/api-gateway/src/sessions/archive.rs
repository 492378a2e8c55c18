//! `POST /v1/sessions/{session_id}/archive`

use actix_web::web::{Data, Path};
use actix_web::{HttpResponse, post};
use platform_core::id::SessionId;
use platform_messaging::proto::session::ArchiveSession;
use platform_messaging::proto::session::session_command::Action;

use crate::caller::Caller;
use crate::commands::Sent;
use crate::minting::Minting;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::sessions::{self, SessionView};

/// Archives a session: its sandbox goes, its log stays, and it takes no more messages.
#[utoipa::path(tag = "sessions", responses(
    (status = 200, body = SessionView),
    (status = 202, body = SessionView, description = "It will be archived shortly"),
    (status = 404, body = ErrorEnvelope),
))]
#[post("/v1/sessions/{session_id}/archive")]
pub async fn archive_session(
    caller: Caller,
    platform: Data<Platform>,
    minting: Minting,
    id: Path<SessionId>,
) -> Result<HttpResponse, Problem> {
    let mut connection = platform.database.connection().await?;
    sessions::find(&mut connection, caller.team(), *id).await?;
    drop(connection);
    let action = Action::Archive(ArchiveSession::default());
    let sent = platform.commands.send(minting.command_id(), caller.team(), *id, action).await?;
    let view = sessions::get::read(caller, &platform, *id).await?;
    Ok(match sent {
        Sent::Answered(_) => HttpResponse::Ok().json(view),
        Sent::Taken => HttpResponse::Accepted().json(view),
    })
}
