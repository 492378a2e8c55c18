//! Rows of `environments` and what they mean.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use platform_core::environment::Environment;
use platform_core::id::Id;
use serde_json::Value;
use uuid::Uuid;

use crate::StorageError;
use crate::column::{from_json, to_json};
use crate::schema::environments;

#[derive(HasQuery, Insertable, AsChangeset)]
#[diesel(table_name = environments, treat_none_as_null = true)]
pub(super) struct EnvironmentRow {
    id: Uuid,
    team_id: Uuid,
    name: String,
    description: Option<String>,
    config: Value,
    scope: Option<String>,
    metadata: Value,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    archived_at: Option<DateTime<Utc>>,
}

impl TryFrom<&Environment> for EnvironmentRow {
    type Error = StorageError;

    fn try_from(environment: &Environment) -> Result<Self, StorageError> {
        Ok(Self {
            id: environment.id.uuid(),
            team_id: environment.team_id.uuid(),
            name: environment.name.clone(),
            description: environment.description.clone(),
            config: to_json("environments.config", &environment.config)?,
            scope: environment.scope.clone(),
            metadata: to_json("environments.metadata", &environment.metadata)?,
            created_at: environment.created_at,
            updated_at: environment.updated_at,
            archived_at: environment.archived_at,
        })
    }
}

impl TryFrom<EnvironmentRow> for Environment {
    type Error = StorageError;

    fn try_from(row: EnvironmentRow) -> Result<Self, StorageError> {
        Ok(Self {
            id: Id::from_uuid(row.id),
            team_id: Id::from_uuid(row.team_id),
            name: row.name,
            description: row.description,
            config: from_json("environments.config", row.config)?,
            scope: row.scope,
            metadata: from_json("environments.metadata", row.metadata)?,
            created_at: row.created_at,
            updated_at: row.updated_at,
            archived_at: row.archived_at,
        })
    }
}
