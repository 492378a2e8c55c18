//! Warm sandboxes: started for an environment before a session asks. Of no team until one claims them.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use platform_core::harness::HarnessName;
use platform_core::id::{AgentId, EnvironmentId, SessionId, TeamId};
use platform_core::sandbox::{Epoch, Sandbox, SandboxState};
use uuid::Uuid;

use super::row::SandboxRow;
use crate::column::to_bigint;
use crate::schema::sandboxes;
use crate::{Connection, StorageError};

/// For whom a warm sandbox is taken.
#[derive(Debug, Clone)]
pub struct Claim {
    pub team_id: TeamId,
    pub session_id: SessionId,
    pub agent_id: AgentId,
    pub epoch: Epoch,
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
