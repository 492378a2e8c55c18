//! Rows of `api_keys`.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use platform_core::id::Id;
use platform_core::team::ApiKey;
use uuid::Uuid;

use crate::schema::api_keys;

#[derive(HasQuery, Insertable)]
#[diesel(table_name = api_keys)]
pub(super) struct ApiKeyRow {
    id: Uuid,
    team_id: Uuid,
    name: String,
    created_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
    last_used_at: Option<DateTime<Utc>>,
}

impl From<&ApiKey> for ApiKeyRow {
    fn from(key: &ApiKey) -> Self {
        Self {
            id: key.id.uuid(),
            team_id: key.team_id.uuid(),
            name: key.name.clone(),
            created_at: key.created_at,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
            last_used_at: key.last_used_at,
        }
    }
}

impl From<ApiKeyRow> for ApiKey {
    fn from(row: ApiKeyRow) -> Self {
        Self {
            id: Id::from_uuid(row.id),
            team_id: Id::from_uuid(row.team_id),
            name: row.name,
            created_at: row.created_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
            last_used_at: row.last_used_at,
        }
    }
}
