//! `POST /v1/agents/{agent_id}`

use actix_web::post;
use actix_web::web::{self, Data, Path};
use platform_core::agent::{Agent, AgentPatch};
use platform_core::id::AgentId;
use platform_storage::{StorageError, agent};

use crate::agents::{self, AgentView, check_runnable};
use crate::body::Json;
use crate::caller::Caller;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::sealer;

/// How often an unconditional change is applied anew because somebody else was faster.
const ATTEMPTS: usize = 5;

/// Makes a new version of an agent. A change that changes nothing makes none.
#[utoipa::path(tag = "agents", request_body = AgentPatch, responses(
    (status = 200, body = AgentView),
    (status = 400, body = ErrorEnvelope),
    (status = 404, body = ErrorEnvelope),
    (status = 409, body = ErrorEnvelope, description = "`version` is not the latest one"),
))]
#[post("/v1/agents/{agent_id}")]
pub async fn update_agent(
    caller: Caller,
    platform: Data<Platform>,
    id: Path<AgentId>,
    body: Json<AgentPatch>,
) -> Result<web::Json<AgentView>, Problem> {
    update(caller, &platform, *id, body.0).await.map(|agent| web::Json(agent.into()))
}

pub async fn update(
    caller: Caller,
    platform: &Platform,
    id: AgentId,
    patch: AgentPatch,
) -> Result<Agent, Problem> {
    let mut newest = None;
    for _ in 0..ATTEMPTS {
        match try_update(caller, platform, id, patch.clone()).await? {
            Attempt::Updated(agent) => return Ok(*agent),
            Attempt::Overtaken { current } if patch.version.is_some() => {
                return Err(conflict(current));
            }
            Attempt::Overtaken { current } => newest = Some(current),
        }
    }
    Err(conflict(newest.unwrap_or_default()).retry_after(1))
}

enum Attempt {
    Updated(Box<Agent>),
    Overtaken { current: i32 },
}

async fn try_update(
    caller: Caller,
    platform: &Platform,
    id: AgentId,
    mut patch: AgentPatch,
) -> Result<Attempt, Problem> {
    let variables = patch.environment_variables.take();
    let mut connection = platform.database.connection().await?;
    let current = agents::find(&mut connection, caller.team(), id, None).await?;
    if current.archived_at.is_some() {
        let message = format!("agent {id} is archived and cannot be changed");
        return Err(Problem::invalid(message).with_code("agent_archived"));
    }
    if patch.version.is_some_and(|expected| expected != current.version) {
        return Ok(Attempt::Overtaken { current: current.version });
    }
    let mut definition = patch.apply_to(current.definition.clone())?;
    let secrets = agents::seal_variables(platform, caller, id, &mut definition, variables)?;
    if definition == current.definition {
        return Ok(Attempt::Updated(Box::new(current)));
    }
    drop(connection);
    check_runnable(platform, &definition).await?;
    let expected = Some(current.version);
    let now = platform.clock.now();
    let team = caller.team();
    let updated = platform.database.transaction(async |connection| {
        sealer::write(connection, team, &secrets, &[]).await?;
        agent::update(connection, team, id, expected, &definition, now).await
    });
    match updated.await {
        Ok(agent) => Ok(Attempt::Updated(Box::new(agent))),
        Err(StorageError::StaleVersion { current }) => Ok(Attempt::Overtaken { current }),
        Err(failure) => Err(failure.into()),
    }
}

fn conflict(current: i32) -> Problem {
    let message =
        format!("the agent is at version {current} by now; read it again and repeat the change");
    Problem::conflict(message).with_code("version_conflict")
}
