//! Environments: what sandboxes are like.

pub mod archive;
pub mod create;
pub mod delete;
pub mod get;
pub mod list;
pub mod policy_check;
pub mod update;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use platform_core::environment::{Environment, EnvironmentConfig};
use platform_core::id::{EnvironmentId, SecretId, TeamId};
use platform_core::variable::{Variables, VariablesDraft};
use platform_storage::{Connection, environment};
use serde::Serialize;

use crate::platform::Platform;
use crate::problem::Problem;
use crate::sealer::{Owner, SealedVariables};

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

/// Applies to the environment what a request says of its variables. The secrets among them are to be written with it.
pub fn seal_variables(
    platform: &Platform,
    environment: &mut Environment,
    draft: Option<VariablesDraft>,
) -> Result<SealedVariables, Problem> {
    let owner = Owner { team: environment.team_id, id: environment.id.uuid() };
    let mut none = Variables::new();
    let variables = environment.config.variables_mut().unwrap_or(&mut none);
    let before = std::mem::take(variables);
    let new_id = |_: &str| SecretId::mint(&*platform.ids);
    let sealed = platform.sealer.variables(owner, draft, before, platform.clock.now(), new_id)?;
    variables.clone_from(&sealed.variables);
    Ok(sealed)
}

pub async fn find(
    connection: &mut Connection,
    team: TeamId,
    id: EnvironmentId,
) -> Result<Environment, Problem> {
    let found = environment::find(connection, team, id).await?;
    found.ok_or_else(|| Problem::not_found("environment", id))
}
