//! `POST /v1/api_keys`

use actix_web::web::Data;
use actix_web::{HttpResponse, post};
use chrono::{DateTime, Utc};
use platform_core::id::TeamId;
use platform_core::team::ApiKey;
use platform_core::wire::check_length;
use platform_storage::{Connection, api_key, team};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use crate::api_keys::ApiKeyView;
use crate::body::Json;
use crate::caller::{Administrator, NewKey};
use crate::idempotency::NotToBeKept;
use crate::minting::Minting;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateApiKeyBody {
    /// The team that the key acts for. Absent: the administrator's own.
    #[serde(default)]
    team_id: Option<TeamId>,
    name: String,
    /// Absent: the key does not expire.
    #[serde(default)]
    expires_at: Option<DateTime<Utc>>,
}

/// The one answer that carries the key.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CreatedApiKey {
    #[serde(flatten)]
    view: ApiKeyView,
    /// Shown now and never again.
    key: String,
}

/// Makes a key for a team. Administrator only.
#[utoipa::path(tag = "api_keys", request_body = CreateApiKeyBody, responses(
    (status = 200, body = CreatedApiKey),
    (status = 403, body = ErrorEnvelope),
    (status = 404, body = ErrorEnvelope, description = "There is no such team"),
))]
#[post("/v1/api_keys")]
pub async fn create_api_key(
    administrator: Administrator,
    platform: Data<Platform>,
    minting: Minting,
    body: Json<CreateApiKeyBody>,
) -> Result<HttpResponse, Problem> {
    let CreateApiKeyBody { team_id, name, expires_at } = body.0;
    check_length("name", &name, 1, 255)?;
    let now = platform.clock.now();
    if expires_at.is_some_and(|end| end <= now) {
        return Err(Problem::invalid("expires_at: this time is over"));
    }
    let team_id = team_id.unwrap_or(administrator.0.team());
    let mut connection = platform.database.connection().await?;
    if team::find(&mut connection, team_id).await?.is_none() {
        return Err(Problem::not_found("team", team_id));
    }
    let new = platform.keys.new_key(&minting);
    let key = ApiKey {
        id: minting.id("api_key"),
        team_id,
        name,
        created_at: now,
        expires_at,
        revoked_at: None,
        last_used_at: None,
    };
    let key = store(&mut connection, key, &new, minting.may_repeat()).await?;
    let created = CreatedApiKey { view: key.into(), key: new.key.expose_secret().to_owned() };
    let mut answer = HttpResponse::Ok().json(created);
    answer.extensions_mut().insert(NotToBeKept);
    Ok(answer)
}

/// Stores the key, or finds it stored by an earlier attempt of the same request.
async fn store(
    connection: &mut Connection,
    key: ApiKey,
    new: &NewKey,
    may_repeat: bool,
) -> Result<ApiKey, Problem> {
    if may_repeat && let Some(made) = api_key::find(connection, key.team_id, key.id).await? {
        return Ok(made);
    }
    api_key::insert(connection, &key, &new.lookup, &new.hash).await?;
    Ok(key)
}
