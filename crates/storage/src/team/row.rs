//! Rows of `teams`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use platform_core::id::Id;
use platform_core::team::{Retention, Team};
use uuid::Uuid;

use crate::column::to_bigint;
use crate::schema::teams;

#[derive(HasQuery, Insertable)]
#[diesel(table_name = teams)]
pub(super) struct TeamRow {
    id: Uuid,
    name: String,
    created_at: DateTime<Utc>,
    archive_inactive_after_seconds: Option<i64>,
    delete_archived_after_seconds: Option<i64>,
}

impl From<&Team> for TeamRow {
    fn from(team: &Team) -> Self {
        Self {
            id: team.id.uuid(),
            name: team.name.clone(),
            created_at: team.created_at,
            archive_inactive_after_seconds: to_seconds(team.retention.archive_inactive_after),
            delete_archived_after_seconds: to_seconds(team.retention.delete_archived_after),
        }
    }
}

impl From<TeamRow> for Team {
    fn from(row: TeamRow) -> Self {
        // The table has positive numbers only.
        let duration = |seconds: i64| Duration::from_secs(seconds.unsigned_abs());
        let retention = Retention {
            archive_inactive_after: row.archive_inactive_after_seconds.map(duration),
            delete_archived_after: row.delete_archived_after_seconds.map(duration),
        };
        Self { id: Id::from_uuid(row.id), name: row.name, retention, created_at: row.created_at }
    }
}

pub(super) fn to_seconds(after: Option<Duration>) -> Option<i64> {
    after.map(|after| to_bigint(after.as_secs()))
}
