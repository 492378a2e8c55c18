//! `POST /v1/sessions`

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpResponse, post};
use chrono::{DateTime, Utc};
use platform_core::agent::{AgentReference, AgentSnapshot};
use platform_core::environment::EnvironmentDraft;
use platform_core::id::{EnvironmentId, SessionId};
use platform_core::openapi::TextOrAgentReference;
use platform_core::session::{ClientEvent, Session};
use platform_core::wire::{check_length, check_metadata};
use platform_messaging::proto::session::OpenSession;
use platform_messaging::proto::session::session_command::Action;
use platform_messaging::proto::session::session_reply::Outcome;
use platform_storage::{Connection, environment};
use serde::Deserialize;
use serde_json::Value;

use crate::agents;
use crate::body::JsonWithEvents;
use crate::caller::Caller;
use crate::commands::{Sent, unreadable};
use crate::environments;
use crate::events::incoming;
use crate::idempotency;
use crate::minting::Minting;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::sessions::{self, SessionView};

/// The environment of sessions that name none.
const DEFAULT_ENVIRONMENT: &str = "default";
const MAX_VAULTS: usize = 50;

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSessionBody {
    /// An agent's id, or `{type: agent}` with a version, or `{type: agent_with_overrides}`.
    #[schema(value_type = TextOrAgentReference)]
    pub agent: AgentReference,
    /// Absent: the team's environment named `default`, made when it is first needed.
    #[serde(default)]
    pub environment_id: Option<EnvironmentId>,
    #[serde(default)]
    pub title: Option<String>,
    #[serde(default)]
    pub metadata: Option<BTreeMap<String, String>>,
    /// At most 50 `user.message`.
    #[serde(default)]
    pub initial_events: Option<Vec<Value>>,
    #[serde(default)]
    pub vault_ids: Option<Vec<String>>,
    /// The caller's own key: asked again for the same agent, it gives the same live session.
    #[serde(default)]
    pub context: Option<String>,
    /// Not supported yet; must be empty.
    #[serde(default)]
    pub resources: Option<Vec<Value>>,
    /// Not supported yet; must be absent.
    #[serde(default)]
    pub budget: Option<Value>,
}

/// Opens a session. Its sandbox comes up in the background; `startup` tells how far it is.
#[utoipa::path(tag = "sessions", request_body = CreateSessionBody, responses(
    (status = 200, body = SessionView),
    (status = 202, body = SessionView, description = "The session will be there shortly"),
    (status = 400, body = ErrorEnvelope),
    (status = 404, body = ErrorEnvelope, description = "There is no such agent or environment"),
))]
#[post("/v1/sessions")]
pub async fn create_session(
    caller: Caller,
    platform: Data<Platform>,
    minting: Minting,
    body: JsonWithEvents<CreateSessionBody>,
) -> Result<HttpResponse, Problem> {
    Ok(match create(caller, &platform, &minting, body.0).await? {
        Created::Opened(view) | Created::Found(view) => answer(StatusCode::OK, &view),
        Created::Later(view) => answer(StatusCode::ACCEPTED, &view),
    })
}

pub fn answer(status: StatusCode, view: &SessionView) -> HttpResponse {
    idempotency::about(view.id(), HttpResponse::build(status).json(view))
}

/// How a session came to be.
pub enum Created {
    Opened(Box<SessionView>),
    /// The live session of the same context.
    Found(Box<SessionView>),
    /// The command was taken, and the outcome is not known yet.
    Later(Box<SessionView>),
}

pub async fn create(
    caller: Caller,
    platform: &Platform,
    minting: &Minting,
    body: CreateSessionBody,
) -> Result<Created, Problem> {
    body.check()?;
    let metadata = body.metadata.unwrap_or_default();
    let initial_events = incoming::parse_initial(body.initial_events.unwrap_or_default(), minting)?;
    let mut connection = platform.database.connection().await?;
    let agent = snapshot(caller, platform, &mut connection, body.agent).await?;
    let environment_id =
        environment(caller, platform, minting, &mut connection, body.environment_id).await?;
    // Not while somebody else is waited for.
    drop(connection);

    let opening = Opening {
        id: minting.id("session"),
        agent,
        environment_id,
        context: body.context,
        title: body.title,
        metadata,
        initial_events,
        vault_ids: body.vault_ids.unwrap_or_default(),
    };
    let action = Action::Open(opening.command()?);
    let sent = platform.commands.send(minting.command_id(), caller.team(), opening.id, action);
    let opened = match sent.await? {
        Sent::Answered(Outcome::Opened(opened)) => opened,
        Sent::Answered(_) => return Err(unreadable()),
        Sent::Taken => return Ok(opening.later(caller, platform)),
    };
    let id = opened.session_id.parse().map_err(|_| unreadable())?;
    match sessions::get::read(caller, platform, id).await {
        Ok(view) if opened.created => Ok(Created::Opened(Box::new(view))),
        Ok(view) => Ok(Created::Found(Box::new(view))),
        // The session is there. A failure now would have it opened a second time.
        Err(problem) if problem.is_transient() => {
            Ok(Opening { id, ..opening }.later(caller, platform))
        }
        Err(problem) => Err(problem),
    }
}

impl CreateSessionBody {
    fn check(&self) -> Result<(), Problem> {
        if self.resources.as_ref().is_some_and(|resources| !resources.is_empty()) {
            return Err(Problem::invalid("resources: session resources are not supported yet"));
        }
        if self.budget.as_ref().is_some_and(|budget| !budget.is_null()) {
            return Err(Problem::invalid("budget: budgets are not supported yet"));
        }
        check_length("title", self.title.as_deref().unwrap_or(""), 0, 512)?;
        if let Some(context) = &self.context {
            check_length("context", context, 1, 512)?;
        }
        if let Some(metadata) = &self.metadata {
            check_metadata(metadata)?;
        }
        if self.vault_ids.as_ref().is_some_and(|ids| ids.len() > MAX_VAULTS) {
            return Err(Problem::invalid("vault_ids: at most 50 are allowed"));
        }
        Ok(())
    }
}

/// The agent as this session will use it.
async fn snapshot(
    caller: Caller,
    platform: &Platform,
    connection: &mut Connection,
    reference: AgentReference,
) -> Result<AgentSnapshot, Problem> {
    let (id, version, overrides) = reference.into_parts()?;
    let agent = agents::find(connection, caller.team(), id, version).await?;
    if agent.archived_at.is_some() {
        let message = format!("agent {id} is archived and opens no more sessions");
        return Err(Problem::invalid(message).with_code("agent_archived"));
    }
    let names_model = overrides.model.is_some();
    let snapshot = overrides.apply_to(agent.snapshot())?;
    if names_model {
        agents::check_runnable(platform, &snapshot.definition).await?;
    }
    Ok(snapshot)
}

async fn environment(
    caller: Caller,
    platform: &Platform,
    minting: &Minting,
    connection: &mut Connection,
    named: Option<EnvironmentId>,
) -> Result<EnvironmentId, Problem> {
    let Some(id) = named else {
        let settings = EnvironmentDraft::named(DEFAULT_ENVIRONMENT).resolve()?;
        let new = environments::create::environment(
            caller,
            platform,
            minting.id("environment"),
            settings,
        );
        return Ok(environment::find_or_insert_by_name(connection, &new).await?.id);
    };
    let found = environments::find(connection, caller.team(), id).await?;
    if found.archived_at.is_some() {
        let message = format!("environment {id} is archived and takes no more sessions");
        return Err(Problem::invalid(message).with_code("environment_archived"));
    }
    Ok(found.id)
}

/// A session that is about to be opened.
struct Opening {
    id: SessionId,
    agent: AgentSnapshot,
    environment_id: EnvironmentId,
    context: Option<String>,
    title: Option<String>,
    metadata: BTreeMap<String, String>,
    initial_events: Vec<ClientEvent>,
    vault_ids: Vec<String>,
}

impl Opening {
    fn command(&self) -> Result<OpenSession, Problem> {
        Ok(OpenSession {
            agent_id: self.agent.id.uuid().to_string(),
            agent_version: self.agent.version,
            agent_snapshot: incoming::to_json(&self.agent)?,
            environment_id: self.environment_id.uuid().to_string(),
            context: self.context.clone(),
            title: self.title.clone(),
            metadata: incoming::to_json(&self.metadata)?,
            initial_events: incoming::to_json(&self.initial_events)?,
            vault_ids: self.vault_ids.clone(),
        })
    }

    fn later(self, caller: Caller, platform: &Platform) -> Created {
        let now = platform.clock.now();
        Created::Later(Box::new(SessionView::new(self.expected(caller, now), now)))
    }

    /// The session as it will be, for a caller who is answered before it is.
    fn expected(self, caller: Caller, now: DateTime<Utc>) -> Session {
        let new = Session::new(self.id, caller.team(), self.agent, self.environment_id, now);
        Session {
            context: self.context,
            title: self.title,
            metadata: self.metadata,
            vault_ids: self.vault_ids,
            ..new
        }
    }
}
