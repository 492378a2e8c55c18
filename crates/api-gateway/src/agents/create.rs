//! `POST /v1/agents`

use actix_web::post;
use actix_web::web::{self, Data};
use platform_core::agent::{Agent, AgentDraft};
use platform_core::failure::FailureKind;
use platform_core::harness::HarnessName;
use platform_storage::agent;

use crate::agents::{AgentView, check_runnable};
use crate::body::Json;
use crate::caller::Caller;
use crate::harnesses::DEFAULT_HARNESS;
use crate::minting::Minting;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};

/// Creates an agent.
#[utoipa::path(tag = "agents", request_body = AgentDraft, responses(
    (status = 200, body = AgentView),
    (status = 400, body = ErrorEnvelope, description = "A field cannot be accepted; the message names it"),
))]
#[post("/v1/agents")]
pub async fn create_agent(
    caller: Caller,
    platform: Data<Platform>,
    minting: Minting,
    body: Json<AgentDraft>,
) -> Result<web::Json<AgentView>, Problem> {
    create(caller, &platform, &minting, body.0).await.map(|agent| web::Json(agent.into()))
}

pub async fn create(
    caller: Caller,
    platform: &Platform,
    minting: &Minting,
    draft: AgentDraft,
) -> Result<Agent, Problem> {
    let default_harness = HarnessName::parse(DEFAULT_HARNESS)
        .map_err(|fault| Problem::new(FailureKind::Internal, fault.to_string()))?;
    let definition = draft.resolve(default_harness)?;
    check_runnable(platform, &definition).await?;
    let now = platform.clock.now();
    let new = Agent {
        id: minting.id("agent"),
        team_id: caller.team(),
        version: 1,
        definition,
        created_at: now,
        updated_at: now,
        archived_at: None,
    };
    let mut connection = platform.database.connection().await?;
    if minting.may_repeat()
        && let Some(made) = agent::find(&mut connection, caller.team(), new.id, Some(1)).await?
    {
        return Ok(made);
    }
    agent::insert(&mut connection, &new).await?;
    Ok(new)
}
