//! Rows of `sandboxes` and what they mean.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use platform_core::harness::HarnessName;
use platform_core::id::Id;
use platform_core::sandbox::{Backend, Epoch, Sandbox, SandboxState};
use serde_json::Value;
use uuid::Uuid;

use crate::StorageError;
use crate::column::{from_bigint, from_json, from_word, to_bigint, to_json, unreadable};
use crate::schema::sandboxes;

#[derive(HasQuery, Insertable)]
#[diesel(table_name = sandboxes)]
pub(super) struct SandboxRow {
    id: Uuid,
    team_id: Option<Uuid>,
    session_id: Option<Uuid>,
    agent_id: Option<Uuid>,
    epoch: Option<i64>,
    environment_id: Uuid,
    harness: String,
    backend: String,
    host: String,
    state: String,
    spec: Value,
    detail: Value,
    token_hash: Option<Vec<u8>>,
    exit_reason: Option<String>,
    created_at: DateTime<Utc>,
    ready_at: Option<DateTime<Utc>>,
    gone_at: Option<DateTime<Utc>>,
}

impl TryFrom<&Sandbox> for SandboxRow {
    type Error = StorageError;

    fn try_from(sandbox: &Sandbox) -> Result<Self, StorageError> {
        Ok(Self {
            id: sandbox.id.uuid(),
            team_id: sandbox.team_id.map(Id::uuid),
            session_id: sandbox.session_id.map(Id::uuid),
            agent_id: sandbox.agent_id.map(Id::uuid),
            epoch: sandbox.epoch.map(|epoch| to_bigint(epoch.0)),
            environment_id: sandbox.environment_id.uuid(),
            harness: sandbox.harness.as_str().to_owned(),
            backend: sandbox.backend.as_word().to_owned(),
            host: sandbox.host.clone(),
            state: sandbox.state.as_word().to_owned(),
            spec: to_json("sandboxes.spec", &sandbox.spec)?,
            detail: sandbox.detail.clone(),
            token_hash: sandbox.token_hash.clone(),
            exit_reason: sandbox.exit_reason.clone(),
            created_at: sandbox.created_at,
            ready_at: sandbox.ready_at,
            gone_at: sandbox.gone_at,
        })
    }
}

impl TryFrom<SandboxRow> for Sandbox {
    type Error = StorageError;

    fn try_from(row: SandboxRow) -> Result<Self, StorageError> {
        let epoch = row.epoch.map(|epoch| from_bigint("sandboxes.epoch", epoch)).transpose()?;
        let harness = HarnessName::parse(&row.harness)
            .map_err(|error| unreadable("sandboxes.harness", error))?;
        Ok(Self {
            id: Id::from_uuid(row.id),
            team_id: row.team_id.map(Id::from_uuid),
            session_id: row.session_id.map(Id::from_uuid),
            agent_id: row.agent_id.map(Id::from_uuid),
            epoch: epoch.map(Epoch),
            environment_id: Id::from_uuid(row.environment_id),
            harness,
            backend: from_word("sandboxes.backend", &row.backend, Backend::from_word)?,
            host: row.host,
            state: from_word("sandboxes.state", &row.state, SandboxState::from_word)?,
            spec: from_json("sandboxes.spec", row.spec)?,
            detail: row.detail,
            token_hash: row.token_hash,
            exit_reason: row.exit_reason,
            created_at: row.created_at,
            ready_at: row.ready_at,
            gone_at: row.gone_at,
        })
    }
}
