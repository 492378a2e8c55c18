//! Rows of `sessions` and what they mean.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use platform_core::id::Id;
use platform_core::sandbox::Epoch;
use platform_core::session::{Session, SessionStatus};
use serde_json::Value;
use uuid::Uuid;

use crate::StorageError;
use crate::column::{from_bigint, from_json, from_word, to_bigint, to_json};
use crate::schema::sessions;

#[derive(HasQuery, Insertable)]
#[diesel(table_name = sessions)]
pub(super) struct SessionRow {
    id: Uuid,
    team_id: Uuid,
    agent_id: Uuid,
    agent_version: i32,
    agent: Value,
    environment_id: Uuid,
    context: Option<String>,
    title: Option<String>,
    metadata: Value,
    vault_ids: Value,
    status: String,
    epoch: i64,
    sandbox_id: Option<Uuid>,
    startup: Option<Value>,
    harness_session: Option<String>,
    last_event: i64,
    journal_through: i64,
    usage: Value,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    idle_since: Option<DateTime<Utc>>,
    archived_at: Option<DateTime<Utc>>,
    forked_from: Option<Value>,
    former_journal: Option<Value>,
    budget: Option<Value>,
    environment_variables: Value,
}

/// The columns that move with the conversation.
#[derive(AsChangeset)]
#[diesel(table_name = sessions, treat_none_as_null = true)]
pub(super) struct StateColumns {
    status: &'static str,
    epoch: i64,
    sandbox_id: Option<Uuid>,
    startup: Option<Value>,
    harness_session: Option<String>,
    last_event: i64,
    journal_through: i64,
    former_journal: Option<Value>,
    usage: Value,
    updated_at: DateTime<Utc>,
    idle_since: Option<DateTime<Utc>>,
    archived_at: Option<DateTime<Utc>>,
}

/// The columns that only a user changes.
#[derive(AsChangeset)]
#[diesel(table_name = sessions, treat_none_as_null = true)]
pub(super) struct DescriptionColumns {
    agent: Value,
    title: Option<String>,
    metadata: Value,
    budget: Option<Value>,
}

fn budget_to_json(session: &Session) -> Result<Option<Value>, StorageError> {
    let budget = session.budget.as_ref();
    budget.map(|budget| to_json("sessions.budget", budget)).transpose()
}

fn mark_to_json(session: &Session) -> Result<Option<Value>, StorageError> {
    let mark = session.former_journal.as_ref();
    mark.map(|mark| to_json("sessions.former_journal", mark)).transpose()
}

impl TryFrom<&Session> for SessionRow {
    type Error = StorageError;

    fn try_from(session: &Session) -> Result<Self, StorageError> {
        let startup = session.startup.as_ref();
        Ok(Self {
            id: session.id.uuid(),
            team_id: session.team_id.uuid(),
            agent_id: session.agent_id.uuid(),
            agent_version: session.agent.version,
            agent: to_json("sessions.agent", &session.agent)?,
            environment_id: session.environment_id.uuid(),
            context: session.context.clone(),
            title: session.title.clone(),
            metadata: to_json("sessions.metadata", &session.metadata)?,
            vault_ids: to_json("sessions.vault_ids", &session.vault_ids)?,
            status: session.status.as_word().to_owned(),
            epoch: to_bigint(session.epoch.0),
            sandbox_id: session.sandbox_id.map(Id::uuid),
            startup: startup.map(|startup| to_json("sessions.startup", startup)).transpose()?,
            harness_session: session.harness_session.clone(),
            last_event: session.last_event,
            journal_through: to_bigint(session.journal_through),
            usage: to_json("sessions.usage", &session.usage)?,
            created_at: session.created_at,
            updated_at: session.updated_at,
            idle_since: session.idle_since,
            archived_at: session.archived_at,
            forked_from: session
                .forked_from
                .as_ref()
                .map(|forked_from| to_json("sessions.forked_from", forked_from))
                .transpose()?,
            former_journal: mark_to_json(session)?,
            budget: budget_to_json(session)?,
            environment_variables: to_json(
                "sessions.environment_variables",
                &session.environment_variables,
            )?,
        })
    }
}

impl TryFrom<&Session> for StateColumns {
    type Error = StorageError;

    fn try_from(session: &Session) -> Result<Self, StorageError> {
        let startup = session.startup.as_ref();
        Ok(Self {
            status: session.status.as_word(),
            epoch: to_bigint(session.epoch.0),
            sandbox_id: session.sandbox_id.map(Id::uuid),
            startup: startup.map(|startup| to_json("sessions.startup", startup)).transpose()?,
            harness_session: session.harness_session.clone(),
            last_event: session.last_event,
            journal_through: to_bigint(session.journal_through),
            former_journal: mark_to_json(session)?,
            usage: to_json("sessions.usage", &session.usage)?,
            updated_at: session.updated_at,
            idle_since: session.idle_since,
            archived_at: session.archived_at,
        })
    }
}

impl TryFrom<&Session> for DescriptionColumns {
    type Error = StorageError;

    fn try_from(session: &Session) -> Result<Self, StorageError> {
        Ok(Self {
            agent: to_json("sessions.agent", &session.agent)?,
            title: session.title.clone(),
            metadata: to_json("sessions.metadata", &session.metadata)?,
            budget: budget_to_json(session)?,
        })
    }
}

impl TryFrom<SessionRow> for Session {
    type Error = StorageError;

    fn try_from(row: SessionRow) -> Result<Self, StorageError> {
        Ok(Self {
            id: Id::from_uuid(row.id),
            team_id: Id::from_uuid(row.team_id),
            agent_id: Id::from_uuid(row.agent_id),
            environment_id: Id::from_uuid(row.environment_id),
            agent: from_json("sessions.agent", row.agent)?,
            context: row.context,
            title: row.title,
            metadata: from_json("sessions.metadata", row.metadata)?,
            vault_ids: from_json("sessions.vault_ids", row.vault_ids)?,
            status: from_word("sessions.status", &row.status, SessionStatus::from_word)?,
            epoch: Epoch(from_bigint("sessions.epoch", row.epoch)?),
            sandbox_id: row.sandbox_id.map(Id::from_uuid),
            startup: row
                .startup
                .map(|startup| from_json("sessions.startup", startup))
                .transpose()?,
            harness_session: row.harness_session,
            last_event: row.last_event,
            journal_through: from_bigint("sessions.journal_through", row.journal_through)?,
            usage: from_json("sessions.usage", row.usage)?,
            created_at: row.created_at,
            updated_at: row.updated_at,
            idle_since: row.idle_since,
            archived_at: row.archived_at,
            forked_from: row
                .forked_from
                .map(|forked_from| from_json("sessions.forked_from", forked_from))
                .transpose()?,
            former_journal: row
                .former_journal
                .map(|mark| from_json("sessions.former_journal", mark))
                .transpose()?,
            budget: row.budget.map(|budget| from_json("sessions.budget", budget)).transpose()?,
            environment_variables: from_json(
                "sessions.environment_variables",
                row.environment_variables,
            )?,
        })
    }
}
