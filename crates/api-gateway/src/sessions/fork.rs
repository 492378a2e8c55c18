//! `POST /v1/sessions/{session_id}/fork`

use std::collections::BTreeMap;

use actix_web::web::{Data, Path};
use actix_web::{HttpResponse, post};
use chrono::{DateTime, Utc};
use platform_core::id::SessionId;
use platform_core::sandbox::Epoch;
use platform_core::session::{ForkedFrom, Session, SessionStatus, Usage};
use platform_core::variable::Variable;
use platform_core::wire::{Change, check_length, check_metadata};
use platform_messaging::proto::session::ForkSession;
use platform_messaging::proto::session::session_command::Action;
use platform_messaging::proto::session::session_reply::Outcome;
use serde::Deserialize;

use crate::body::OptionalJson;
use crate::caller::Caller;
use crate::commands::{Sent, unreadable};
use crate::events::incoming;
use crate::idempotency;
use crate::minting::Minting;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::sessions::{self, SessionView};

#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForkSessionBody {
    /// The number (`seq`) of the last event to take over. Absent: all of them.
    #[serde(default)]
    #[schema(minimum = 1)]
    at_event: Option<i64>,
    /// Absent: the title of the session that is forked.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    title: Change<String>,
    /// Absent: the metadata of the session that is forked.
    #[serde(default)]
    metadata: Option<BTreeMap<String, String>>,
    /// The caller's own key for the new session. No live session of the agent may have it.
    #[serde(default)]
    context: Option<String>,
}

/// Opens a session that goes on from an earlier point of another: with its log up to there, and its files and the agent's memory as they
/// were when that turn ended. The other session is left as it is.
#[utoipa::path(tag = "sessions", request_body = ForkSessionBody, responses(
    (status = 200, body = SessionView, description = "The new session; `forked_from` says where it comes from"),
    (status = 202, body = SessionView, description = "The new session will be there shortly"),
    (status = 400, body = ErrorEnvelope, description = "`no_such_event`, or `no_snapshot`: the files of that point were not kept"),
    (status = 404, body = ErrorEnvelope),
    (status = 409, body = ErrorEnvelope, description = "`context_taken`"),
))]
#[post("/v1/sessions/{session_id}/fork")]
pub async fn fork_session(
    caller: Caller,
    platform: Data<Platform>,
    minting: Minting,
    id: Path<SessionId>,
    body: OptionalJson<ForkSessionBody>,
) -> Result<HttpResponse, Problem> {
    let mut connection = platform.database.connection().await?;
    let source = sessions::find(&mut connection, caller.team(), *id).await?;
    drop(connection);
    let fork = body.0.resolve(&source, minting.id("session"))?;
    let action = Action::Fork(fork.command()?);
    let sent = platform.commands.send(minting.command_id(), caller.team(), fork.id, action);
    match sent.await? {
        Sent::Answered(Outcome::Opened(_)) => {}
        Sent::Answered(_) => return Err(unreadable()),
        Sent::Taken => return Ok(fork.later(source, platform.clock.now())),
    }
    match sessions::get::read(caller, &platform, fork.id).await {
        Ok(view) => Ok(idempotency::about(fork.id, HttpResponse::Ok().json(view))),
        // The session is there. A failure now would have it forked a second time.
        Err(problem) if problem.is_transient() => Ok(fork.later(source, platform.clock.now())),
        Err(problem) => Err(problem),
    }
}

impl ForkSessionBody {
    fn resolve(self, source: &Session, id: SessionId) -> Result<Forking, Problem> {
        let Self { at_event, title, metadata, context } = self;
        if at_event.is_some_and(|number| number < 1) {
            return Err(Problem::invalid("at_event: the first event of a session is number 1"));
        }
        let title = title.empty_clears().apply_to(source.title.clone());
        check_length("title", title.as_deref().unwrap_or(""), 0, 512)?;
        let metadata = metadata.unwrap_or_else(|| source.metadata.clone());
        check_metadata(&metadata)?;
        if let Some(context) = &context {
            check_length("context", context, 1, 512)?;
        }
        Ok(Forking { id, source: source.id, at_event, title, metadata, context })
    }
}

/// A session that is about to be forked from another.
struct Forking {
    id: SessionId,
    source: SessionId,
    at_event: Option<i64>,
    title: Option<String>,
    metadata: BTreeMap<String, String>,
    context: Option<String>,
}

impl Forking {
    fn command(&self) -> Result<ForkSession, Problem> {
        Ok(ForkSession {
            source_session_id: self.source.uuid().to_string(),
            at_event: self.at_event.unwrap_or(0),
            context: self.context.clone(),
            title: self.title.clone(),
            metadata: incoming::to_json(&self.metadata)?,
        })
    }

    fn later(self, source: Session, now: DateTime<Utc>) -> HttpResponse {
        let id = self.id;
        let view = SessionView::new(self.expected(source, now), now);
        idempotency::about(id, HttpResponse::Accepted().json(view))
    }

    /// The session as it will be, for a caller who is answered before it is.
    fn expected(self, source: Session, now: DateTime<Utc>) -> Session {
        let at_event = self.at_event.unwrap_or(source.last_event);
        // Secrets stay with the session that they were given to.
        let mut environment_variables = source.environment_variables;
        environment_variables.retain(|_, variable| matches!(variable, Variable::Plain { .. }));
        Session {
            id: self.id,
            context: self.context,
            title: self.title,
            metadata: self.metadata,
            status: SessionStatus::Idle,
            epoch: Epoch::NONE,
            sandbox_id: None,
            startup: None,
            harness_session: None,
            last_event: at_event,
            journal_through: 0,
            usage: Usage::default(),
            environment_variables,
            forked_from: Some(ForkedFrom { session_id: source.id, at_event, turn_id: None }),
            created_at: now,
            updated_at: now,
            idle_since: Some(now),
            archived_at: None,
            ..source
        }
    }
}
