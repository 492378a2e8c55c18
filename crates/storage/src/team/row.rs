//! Rows of `teams`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use platform_core::budget::{Budget, NanoDollars};
use platform_core::id::Id;
use platform_core::team::{Retention, Team};
use serde_json::Value;
use uuid::Uuid;

use crate::StorageError;
use crate::column::{from_bigint, from_json, to_bigint, to_json};
use crate::schema::teams;

#[derive(HasQuery, Insertable)]
#[diesel(table_name = teams)]
pub(super) struct TeamRow {
    id: Uuid,
    name: String,
    created_at: DateTime<Utc>,
    archive_inactive_after_seconds: Option<i64>,
    delete_archived_after_seconds: Option<i64>,
    internal_hosts: Value,
    budget_nano_usd: Option<i64>,
    spent_nano_usd: i64,
}

impl TryFrom<&Team> for TeamRow {
    type Error = StorageError;

    fn try_from(team: &Team) -> Result<Self, StorageError> {
        Ok(Self {
            id: team.id.uuid(),
            name: team.name.clone(),
            created_at: team.created_at,
            archive_inactive_after_seconds: to_seconds(team.retention.archive_inactive_after),
            delete_archived_after_seconds: to_seconds(team.retention.delete_archived_after),
            internal_hosts: to_json("teams.internal_hosts", &team.internal_hosts)?,
            budget_nano_usd: team.budget.map(|budget| to_bigint(budget.max_cost.0)),
            spent_nano_usd: to_bigint(team.spent.0),
        })
    }
}

impl TryFrom<TeamRow> for Team {
    type Error = StorageError;

    fn try_from(row: TeamRow) -> Result<Self, StorageError> {
        // The table has positive numbers only.
        let duration = |seconds: i64| Duration::from_secs(seconds.unsigned_abs());
        let retention = Retention {
            archive_inactive_after: row.archive_inactive_after_seconds.map(duration),
            delete_archived_after: row.delete_archived_after_seconds.map(duration),
        };
        Ok(Self {
            id: Id::from_uuid(row.id),
            name: row.name,
            retention,
            internal_hosts: from_json("teams.internal_hosts", row.internal_hosts)?,
            budget: row.budget_nano_usd.map(to_budget).transpose()?,
            spent: NanoDollars(from_bigint("teams.spent_nano_usd", row.spent_nano_usd)?),
            created_at: row.created_at,
        })
    }
}

pub(super) fn to_budget(nano_usd: i64) -> Result<Budget, StorageError> {
    let max_cost = NanoDollars(from_bigint("teams.budget_nano_usd", nano_usd)?);
    Ok(Budget { max_cost })
}

pub(super) fn to_seconds(after: Option<Duration>) -> Option<i64> {
    after.map(|after| to_bigint(after.as_secs()))
}
