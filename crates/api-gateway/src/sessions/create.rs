//! `POST /v1/sessions`

mod opening;
mod parts;

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpResponse, post};
use platform_core::agent::AgentReference;
use platform_core::budget::WireBudget;
use platform_core::id::EnvironmentId;
use platform_core::openapi::{TextOrAgentReference, TextOrVariable};
use platform_core::variable::VariablesDraft;
use platform_core::wire::{check_length, check_metadata};
use platform_messaging::proto::session::session_command::Action;
use platform_messaging::proto::session::session_reply::Outcome;
use serde::Deserialize;
use serde_json::Value;

use crate::body::JsonWithEvents;
use crate::caller::Caller;
use crate::commands::{Sent, unreadable};
use crate::events::incoming;
use crate::idempotency;
use crate::minting::Minting;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::sessions::{self, SessionView};

use opening::Opening;

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
    /// Vaults whose credentials the session uses, at most 50. Of credentials for the same variable the last one counts.
    #[serde(default)]
    pub vault_ids: Option<Vec<String>>,
    /// The caller's own key: asked again for the same agent, it gives the same live session.
    #[serde(default)]
    pub context: Option<String>,
    /// Not supported yet; must be empty.
    #[serde(default)]
    pub resources: Option<Vec<Value>>,
    /// What its model calls may cost. Can be given only here, for a model whose price LiteLLM knows.
    #[serde(default)]
    pub budget: Option<WireBudget>,
    /// Variables of its sandboxes, beside those of its environment and its agent.
    #[serde(default)]
    #[schema(value_type = Option<BTreeMap<String, TextOrVariable>>)]
    pub environment_variables: Option<VariablesDraft>,
}

/// Opens a session. Its sandbox comes up in the background; `startup` tells how far it is.
#[utoipa::path(tag = "sessions", request_body = CreateSessionBody, responses(
    (status = 200, body = SessionView),
    (status = 202, body = SessionView, description = "The session will be there shortly"),
    (status = 400, body = ErrorEnvelope, description = "Also `model_not_budgetable`, `vault_archived`"),
    (status = 404, body = ErrorEnvelope, description = "There is no such agent, environment or vault"),
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
    let budget = body.budget.as_ref().map(WireBudget::resolve).transpose()?;
    let metadata = body.metadata.unwrap_or_default();
    let initial_events = incoming::parse_initial(body.initial_events.unwrap_or_default(), minting)?;
    let mut connection = platform.database.connection().await?;
    let agent = parts::snapshot(caller, platform, &mut connection, body.agent).await?;
    let environment_id =
        parts::environment(caller, platform, minting, &mut connection, body.environment_id).await?;
    let vault_ids =
        parts::vaults(caller, &mut connection, body.vault_ids.unwrap_or_default()).await?;
    // Not while somebody else is waited for.
    drop(connection);
    if budget.is_some() {
        parts::check_price(platform, &agent).await?;
    }
    let id = minting.id("session");
    let variables =
        parts::seal_variables(caller, platform, minting, id, body.environment_variables)?;

    let opening = Opening {
        id,
        agent,
        environment_id,
        context: body.context,
        title: body.title,
        metadata,
        initial_events,
        vault_ids,
        budget,
        environment_variables: variables.variables,
    };
    let command = opening.command()?;
    opening::keep_secrets(caller, platform, minting, &variables.secrets).await?;
    let sent =
        platform.commands.send(minting.command_id(), caller.team(), id, Action::Open(command));
    let opened = match sent.await {
        Ok(Sent::Answered(Outcome::Opened(opened))) => opened,
        Ok(Sent::Answered(_)) => return Err(unreadable()),
        Ok(Sent::Taken) => return Ok(opening.later(caller, platform)),
        Err(problem) => {
            if !problem.is_transient() {
                opening::forget_secrets(caller, platform, id, &variables.secrets).await;
            }
            return Err(problem);
        }
    };
    let id = opened.session_id.parse().map_err(|_| unreadable())?;
    if id != opening.id {
        opening::forget_secrets(caller, platform, opening.id, &variables.secrets).await;
    }
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
