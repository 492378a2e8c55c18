//! Teams: the tenants.

pub mod create;
pub mod get;
pub mod list;
pub mod update;

use std::time::Duration;

use chrono::{DateTime, Utc};
use platform_core::budget::{Money, WireBudget};
use platform_core::id::TeamId;
use platform_core::network::HostPattern;
use platform_core::team::Team;
use serde::Serialize;

/// A team as the API shows it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TeamView {
    id: TeamId,
    /// Always `team`.
    r#type: &'static str,
    name: String,
    /// Sessions that nobody used for this long are archived; null: never.
    archive_inactive_after_seconds: Option<u64>,
    /// Sessions that were archived this long ago are deleted; null: never.
    delete_archived_after_seconds: Option<u64>,
    /// Hosts that its sandboxes may reach although their addresses are not public.
    #[schema(value_type = Vec<String>)]
    internal_hosts: Vec<HostPattern>,
    /// What the model calls of all its sessions may cost; null: anything.
    budget: Option<WireBudget>,
    /// What they have cost.
    spent: Money,
    created_at: DateTime<Utc>,
}

impl From<Team> for TeamView {
    fn from(team: Team) -> Self {
        let seconds = |after: Option<Duration>| after.map(|after| after.as_secs());
        Self {
            id: team.id,
            r#type: "team",
            name: team.name,
            archive_inactive_after_seconds: seconds(team.retention.archive_inactive_after),
            delete_archived_after_seconds: seconds(team.retention.delete_archived_after),
            internal_hosts: team.internal_hosts,
            budget: team.budget.map(WireBudget::from),
            spent: Money::exactly(team.spent),
            created_at: team.created_at,
        }
    }
}
