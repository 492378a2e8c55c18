//! Warm sandboxes: started for an environment before a session asks. Of no team until one claims them.

use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};
use diesel_async::RunQueryDsl;
use platform_core::environment::{EnvironmentConfig, SandboxSpec};
use platform_core::harness::HarnessName;
use platform_core::id::{AgentId, EnvironmentId, SessionId, TeamId};
use platform_core::sandbox::{Epoch, Sandbox, SandboxState};
use serde_json::Value;
use uuid::Uuid;

use super::read::into_sandboxes;
use super::row::SandboxRow;
use crate::column::{from_json, to_bigint, unreadable};
use crate::schema::{environments, sandboxes, sessions};
use crate::{Connection, StorageError};

/// For whom a warm sandbox is taken.
#[derive(Debug, Clone)]
pub struct Claim {
    pub team_id: TeamId,
    pub session_id: SessionId,
    pub agent_id: AgentId,
    pub epoch: Epoch,
}

/// What an environment wants to have ready.
#[derive(Debug, Clone, PartialEq)]
pub struct WarmPool {
    pub environment: EnvironmentId,
    /// Its `warm_pool_size` is not 0.
    pub spec: SandboxSpec,
    /// That of the environment's newest session.
    pub harness: HarnessName,
}

/// The environments, of all teams, that want warm sandboxes and had something happen in a session since then.
pub async fn list_warm_pools(
    connection: &mut Connection,
    used_since: DateTime<Utc>,
) -> Result<Vec<WarmPool>, StorageError> {
    let harness = sql::<Nullable<Text>>("sessions.agent ->> 'harness'");
    let rows: Vec<(Uuid, Value, Option<String>)> = sessions::table
        .inner_join(environments::table.on(environments::id.eq(sessions::environment_id)))
        .filter(environments::archived_at.is_null())
        .filter(sessions::updated_at.ge(used_since))
        .filter(sql::<diesel::sql_types::Bool>(
            "(environments.config ->> 'warm_pool_size')::bigint > 0",
        ))
        .distinct_on(sessions::environment_id)
        .order((sessions::environment_id.asc(), sessions::created_at.desc()))
        .select((environments::id, environments::config, harness))
        .load(connection)
        .await?;
    let mut pools = Vec::with_capacity(rows.len());
    for (environment, config, harness) in rows {
        let config: EnvironmentConfig = from_json("environments.config", config)?;
        let (EnvironmentConfig::Cloud { sandbox: spec, .. }, Some(harness)) = (config, harness)
        else {
            continue;
        };
        let harness =
            HarnessName::parse(&harness).map_err(|error| unreadable("sessions.agent", error))?;
        pools.push(WarmPool { environment: EnvironmentId::from_uuid(environment), spec, harness });
    }
    Ok(pools)
}

/// A machine's sandboxes that no session has claimed and that are not on their way out, oldest first.
pub async fn list_unclaimed(
    connection: &mut Connection,
    host: &str,
) -> Result<Vec<Sandbox>, StorageError> {
    let on_their_way_out = [SandboxState::Stopping.as_word(), SandboxState::Gone.as_word()];
    let rows = SandboxRow::query()
        .filter(sandboxes::session_id.is_null())
        .filter(sandboxes::state.ne_all(on_their_way_out))
        .filter(sandboxes::host.eq(host))
        .order((sandboxes::created_at.asc(), sandboxes::id.asc()))
        .load(connection)
        .await?;
    into_sandboxes(rows)
}

/// Stores a sandbox that is started without a session.
pub async fn insert_unclaimed(
    connection: &mut Connection,
    sandbox: &Sandbox,
) -> Result<(), StorageError> {
    diesel::insert_into(sandboxes::table)
        .values(SandboxRow::try_from(sandbox)?)
        .execute(connection)
        .await?;
    Ok(())
}

/// Gives one warm sandbox of the environment and harness to the session, the oldest first; `None` when there is none.
///
/// Of several sessions that claim at once each gets another one. `AlreadyExists` when this epoch of the session has a sandbox already.
pub async fn claim_warm(
    connection: &mut Connection,
    host: &str,
    environment: EnvironmentId,
    harness: &HarnessName,
    claim: &Claim,
) -> Result<Option<Sandbox>, StorageError> {
    let oldest_warm: Option<Uuid> = sandboxes::table
        .filter(sandboxes::state.eq(SandboxState::Warm.as_word()))
        .filter(sandboxes::host.eq(host))
        .filter(sandboxes::environment_id.eq(environment.uuid()))
        .filter(sandboxes::harness.eq(harness.as_str()))
        .order((sandboxes::created_at.asc(), sandboxes::id.asc()))
        .select(sandboxes::id)
        .for_update()
        .skip_locked()
        .first(connection)
        .await
        .optional()?;
    let Some(sandbox) = oldest_warm else {
        return Ok(None);
    };
    diesel::update(sandboxes::table)
        .filter(sandboxes::id.eq(sandbox))
        .filter(sandboxes::state.eq(SandboxState::Warm.as_word()))
        .set((
            sandboxes::state.eq(SandboxState::Claimed.as_word()),
            sandboxes::team_id.eq(claim.team_id.uuid()),
            sandboxes::session_id.eq(claim.session_id.uuid()),
            sandboxes::agent_id.eq(claim.agent_id.uuid()),
            sandboxes::epoch.eq(to_bigint(claim.epoch.0)),
        ))
        .returning(SandboxRow::as_returning())
        .get_result(connection)
        .await
        .optional()?
        .map(Sandbox::try_from)
        .transpose()
}

/// How many sandboxes of the environment and harness are warm or on their way to it.
pub async fn count_unclaimed(
    connection: &mut Connection,
    host: &str,
    environment: EnvironmentId,
    harness: &HarnessName,
) -> Result<i64, StorageError> {
    let count = sandboxes::table
        .filter(sandboxes::session_id.is_null())
        .filter(sandboxes::state.ne(SandboxState::Gone.as_word()))
        .filter(sandboxes::host.eq(host))
        .filter(sandboxes::environment_id.eq(environment.uuid()))
        .filter(sandboxes::harness.eq(harness.as_str()))
        .count()
        .get_result(connection)
        .await?;
    Ok(count)
}
