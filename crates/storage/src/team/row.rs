//! Rows of `teams`.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use platform_core::id::Id;
use platform_core::team::Team;
use uuid::Uuid;

use crate::schema::teams;

#[derive(HasQuery, Insertable)]
#[diesel(table_name = teams)]
pub(super) struct TeamRow {
    id: Uuid,
    name: String,
    created_at: DateTime<Utc>,
}

impl From<&Team> for TeamRow {
    fn from(team: &Team) -> Self {
        Self { id: team.id.uuid(), name: team.name.clone(), created_at: team.created_at }
    }
}

impl From<TeamRow> for Team {
    fn from(row: TeamRow) -> Self {
        Self { id: Id::from_uuid(row.id), name: row.name, created_at: row.created_at }
    }
}
