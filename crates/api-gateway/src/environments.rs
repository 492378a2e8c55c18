//! Environments: what sandboxes are like.

pub mod archive;
pub mod create;
pub mod delete;
pub mod get;
pub mod list;
pub mod update;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use platform_core::environment::{Environment, EnvironmentConfig};
use platform_core::id::{EnvironmentId, TeamId};
use platform_storage::{Connection, environment};
use serde::Serialize;

use crate::problem::Problem;

/// An environment as the API shows it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct EnvironmentView {
    id: EnvironmentId,
    /// Always `environment`.
    r#type: &'static str,
    name: String,
    description: Option<String>,
    config: EnvironmentConfig,
    scope: Option<String>,
    metadata: BTreeMap<String, String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    archived_at: Option<DateTime<Utc>>,
}

impl From<Environment> for EnvironmentView {
    fn from(environment: Environment) -> Self {
        let Environment { id, team_id: _, name, description, config, scope, metadata, .. } =
            environment;
        Self {
            id,
            r#type: "environment",
            name,
            description,
            config,
            scope,
            metadata,
            created_at: environment.created_at,
            updated_at: environment.updated_at,
            archived_at: environment.archived_at,
        }
    }
}

pub async fn find(
    connection: &mut Connection,
    team: TeamId,
    id: EnvironmentId,
) -> Result<Environment, Problem> {
    let found = environment::find(connection, team, id).await?;
    found.ok_or_else(|| Problem::not_found("environment", id))
}
