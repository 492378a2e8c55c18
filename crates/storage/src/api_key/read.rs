//! Finding keys.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use platform_core::id::{ApiKeyId, TeamId};
use platform_core::team::ApiKey;

use super::row::ApiKeyRow;
use crate::schema::api_keys;
use crate::{Connection, Cursor, Order, Page, PageRequest, StorageError};

/// A key with the hash that a shown key has to match. Expired and revoked ones too: whoever asks tells them apart.
#[derive(Clone)]
pub struct StoredKey {
    pub key: ApiKey,
    /// SHA-256 of the whole key.
    pub hash: Vec<u8>,
}

/// Names no team: this is how a caller's team is found out.
pub async fn find_by_lookup(
    connection: &mut Connection,
    lookup: &str,
) -> Result<Option<StoredKey>, StorageError> {
    let found: Option<(ApiKeyRow, Vec<u8>)> = api_keys::table
        .filter(api_keys::lookup.eq(lookup))
        .select((ApiKeyRow::as_select(), api_keys::hash))
        .first(connection)
        .await
        .optional()?;
    Ok(found.map(|(row, hash)| StoredKey { key: row.into(), hash }))
}

pub async fn find(
    connection: &mut Connection,
    team: TeamId,
    key: ApiKeyId,
) -> Result<Option<ApiKey>, StorageError> {
    let row = ApiKeyRow::query()
        .filter(api_keys::team_id.eq(team.uuid()))
        .filter(api_keys::id.eq(key.uuid()))
        .first(connection)
        .await;
    Ok(row.optional()?.map(ApiKey::from))
}

/// The team that the key acts for. Of whichever team: the administrator names a key by nothing but its id.
pub async fn team_of(
    connection: &mut Connection,
    key: ApiKeyId,
) -> Result<Option<TeamId>, StorageError> {
    let team: Option<uuid::Uuid> = api_keys::table
        .find(key.uuid())
        .select(api_keys::team_id)
        .first(connection)
        .await
        .optional()?;
    Ok(team.map(TeamId::from_uuid))
}

pub async fn list(
    connection: &mut Connection,
    team: TeamId,
    request: PageRequest,
) -> Result<Page<ApiKey>, StorageError> {
    let walk = request.walk();
    let mut query = ApiKeyRow::query().filter(api_keys::team_id.eq(team.uuid())).into_boxed();
    query = match walk.order {
        Order::NewestFirst => query.order((api_keys::created_at.desc(), api_keys::id.desc())),
        Order::OldestFirst => query.order((api_keys::created_at.asc(), api_keys::id.asc())),
    };
    if let Some(Cursor { created_at, id }) = walk.past {
        // As in `session/read.rs`: the first condition tells the index where to begin.
        query = match walk.order {
            Order::NewestFirst => query
                .filter(api_keys::created_at.le(created_at))
                .filter(api_keys::created_at.lt(created_at).or(api_keys::id.lt(id))),
            Order::OldestFirst => query
                .filter(api_keys::created_at.ge(created_at))
                .filter(api_keys::created_at.gt(created_at).or(api_keys::id.gt(id))),
        };
    }
    let rows = query.limit(walk.limit).load::<ApiKeyRow>(connection).await?;
    let met = rows.into_iter().map(ApiKey::from).collect();
    Ok(walk.page(met, |key: &ApiKey| Cursor { created_at: key.created_at, id: key.id.uuid() }))
}
