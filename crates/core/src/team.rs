//! The tenant, and the keys that act for it.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::budget::{Allowance, Budget, NanoDollars};
use crate::id::{ApiKeyId, TeamId};
use crate::network::HostPattern;

/// Name of the team in which the administrator acts when none is named.
pub const DEFAULT_TEAM: &str = "default";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Team {
    pub id: TeamId,
    pub name: String,
    pub retention: Retention,
    /// Hosts that its sandboxes may reach although their addresses are not public.
    pub internal_hosts: Vec<HostPattern>,
    /// What the model calls of all its sessions may cost.
    pub budget: Option<Budget>,
    /// What they have cost, sessions deleted since included.
    pub spent: NanoDollars,
    pub created_at: DateTime<Utc>,
}

impl Team {
    /// A team that has set nothing yet.
    pub fn new(id: TeamId, name: String, now: DateTime<Utc>) -> Self {
        Self {
            id,
            name,
            retention: Retention::default(),
            internal_hosts: Vec::new(),
            budget: None,
            spent: NanoDollars::default(),
            created_at: now,
        }
    }

    pub fn allowance(&self) -> Allowance {
        Allowance { budget: self.budget, spent: self.spent }
    }
}

/// When a team's sessions go away by themselves. `None`: never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// Archived after nobody used them for this long.
    pub archive_inactive_after: Option<Duration>,
    /// Deleted this long after they were archived.
    pub delete_archived_after: Option<Duration>,
}

/// A key of a team. The key itself is shown once and stored only as a hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    pub id: ApiKeyId,
    pub team_id: TeamId,
    pub name: String,
    pub created_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
    pub last_used_at: Option<DateTime<Utc>>,
}

impl ApiKey {
    /// Whether the key opens anything at `now`.
    pub fn is_valid_at(&self, now: DateTime<Utc>) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}
