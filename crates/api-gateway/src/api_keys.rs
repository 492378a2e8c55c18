//! API keys: what acts for a team.

pub mod create;
pub mod list;
pub mod revoke;

use chrono::{DateTime, Utc};
use platform_core::id::{ApiKeyId, TeamId};
use platform_core::team::ApiKey;
use serde::Serialize;

/// A key as the API shows it, without the key itself.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ApiKeyView {
    id: ApiKeyId,
    /// Always `api_key`.
    r#type: &'static str,
    team_id: TeamId,
    name: String,
    created_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
    last_used_at: Option<DateTime<Utc>>,
}

impl From<ApiKey> for ApiKeyView {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id,
            r#type: "api_key",
            team_id: key.team_id,
            name: key.name,
            created_at: key.created_at,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
            last_used_at: key.last_used_at,
        }
    }
}
