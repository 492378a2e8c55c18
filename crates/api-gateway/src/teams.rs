//! Teams: the tenants.

pub mod create;
pub mod list;

use chrono::{DateTime, Utc};
use platform_core::id::TeamId;
use platform_core::team::Team;
use serde::Serialize;

/// A team as the API shows it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TeamView {
    id: TeamId,
    /// Always `team`.
    r#type: &'static str,
    name: String,
    created_at: DateTime<Utc>,
}

impl From<Team> for TeamView {
    fn from(team: Team) -> Self {
        Self { id: team.id, r#type: "team", name: team.name, created_at: team.created_at }
    }
}
