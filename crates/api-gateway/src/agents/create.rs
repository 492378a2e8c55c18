//! `POST /v1/agents`

use actix_web::post;
use actix_web::web::{self, Data};
use platform_core::agent::{Agent, AgentDraft};
use platform_core::failure::FailureKind;
use platform_core::harness::HarnessName;
use platform_storage::agent;

use crate::agents::{self, AgentView, check_runnable};
use crate::body::Json;
use crate::caller::Caller;
use crate::harnesses::DEFAULT_HARNESS;
use crate::minting::Minting;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::sealer;

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
    mut draft: AgentDraft,
) -> Result<Agent, Problem> {
    let variables = draft.environment_variables.take();
    let default_harness = HarnessName::parse(DEFAULT_HARNESS)
        .map_err(|fault| Problem::new(FailureKind::Internal, fault.to_string()))?;
    let mut definition = draft.resolve(default_harness)?;
    check_runnable(platform, &definition).await?;
    let (id, now) = (minting.id("agent"), platform.clock.now());
    let secrets = agents::seal_variables(platform, caller, id, &mut definition, variables)?;
    let new = Agent {
        id,
        team_id: caller.team(),
        version: 1,
        definition,
        created_at: now,
        updated_at: now,
        archived_at: None,
    };
    let stored = platform.database.transaction(async |connection| {
        if minting.may_repeat()
            && let Some(made) = agent::find(connection, new.team_id, new.id, Some(1)).await?
        {
            return Ok(made);
        }
        sealer::write(connection, new.team_id, &secrets, &[]).await?;
        agent::insert(connection, &new).await?;
        Ok::<_, Problem>(new)
    });
    stored.await
}
