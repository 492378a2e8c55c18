//! What a session is opened with: its agent, environment, vaults and variables, each looked up and checked.

use platform_core::agent::{AgentReference, AgentSnapshot};
use platform_core::environment::EnvironmentDraft;
use platform_core::id::{EnvironmentId, SessionId, VaultId};
use platform_core::variable::{Variables, VariablesDraft};
use platform_core::wire::InvalidField;
use platform_storage::{Connection, environment, vault};

use crate::caller::Caller;
use crate::minting::Minting;
use crate::platform::Platform;
use crate::problem::Problem;
use crate::sealer::{Owner, SealedVariables};
use crate::{agents, environments, vaults};

/// The environment of sessions that name none.
const DEFAULT_ENVIRONMENT: &str = "default";

/// The agent as this session will use it.
pub(super) async fn snapshot(
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

pub(super) async fn environment(
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

/// The vaults, each once, in the order that was given.
pub(super) async fn vaults(
    caller: Caller,
    connection: &mut Connection,
    named: Vec<String>,
) -> Result<Vec<String>, Problem> {
    let mut ids: Vec<VaultId> = Vec::with_capacity(named.len());
    for (index, text) in named.into_iter().enumerate() {
        let id = text.parse().map_err(|fault: platform_core::id::InvalidId| {
            InvalidField::new(format!("vault_ids[{index}]"), fault.to_string())
        })?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let found = vault::find_many(connection, caller.team(), &ids).await?;
    for id in &ids {
        let vault = found.iter().find(|vault| vault.id == *id);
        vaults::check_living(vault.ok_or_else(|| Problem::not_found("vault", id))?)?;
    }
    Ok(ids.iter().map(ToString::to_string).collect())
}

/// Refuses a limit in money for a model whose price nobody knows. While LiteLLM cannot be asked it passes.
pub(super) async fn check_price(platform: &Platform, agent: &AgentSnapshot) -> Result<(), Problem> {
    let model = &agent.definition.model.id;
    if platform.models.has_price(model).await == Some(false) {
        let message = format!(
            "budget: LiteLLM knows no price of model {model:?}, so that its cost cannot be counted; \
            set input_cost_per_token and output_cost_per_token there, or leave the budget out"
        );
        return Err(Problem::invalid(message).with_code("model_not_budgetable"));
    }
    Ok(())
}

/// With an `Idempotency-Key` the secrets have the same ids every time.
pub(super) fn seal_variables(
    caller: Caller,
    platform: &Platform,
    minting: &Minting,
    session: SessionId,
    draft: Option<VariablesDraft>,
) -> Result<SealedVariables, Problem> {
    let owner = Owner { team: caller.team(), id: session.uuid() };
    let new_id = |name: &str| minting.id(&format!("variable {name}"));
    platform.sealer.variables(owner, draft, Variables::new(), platform.clock.now(), new_id)
}
