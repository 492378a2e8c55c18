//! Finding vaults.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use platform_core::credential::Vault;
use platform_core::id::{TeamId, VaultId};
use uuid::Uuid;

use super::row::VaultRow;
use crate::schema::vaults;
use crate::{Connection, Cursor, Order, Page, PageRequest, StorageError};

pub async fn find(
    connection: &mut Connection,
    team: TeamId,
    vault: VaultId,
) -> Result<Option<Vault>, StorageError> {
    VaultRow::query()
        .filter(vaults::team_id.eq(team.uuid()))
        .filter(vaults::id.eq(vault.uuid()))
        .first(connection)
        .await
        .optional()?
        .map(Vault::try_from)
        .transpose()
}

/// As [`find`]; until the transaction ends nobody else changes it.
pub async fn lock(
    connection: &mut Connection,
    team: TeamId,
    vault: VaultId,
) -> Result<Option<Vault>, StorageError> {
    VaultRow::query()
        .filter(vaults::team_id.eq(team.uuid()))
        .filter(vaults::id.eq(vault.uuid()))
        .for_no_key_update()
        .first(connection)
        .await
        .optional()?
        .map(Vault::try_from)
        .transpose()
}

/// Those of the given vaults that the team has, in no order.
pub async fn find_many(
    connection: &mut Connection,
    team: TeamId,
    ids: &[VaultId],
) -> Result<Vec<Vault>, StorageError> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let rows = VaultRow::query()
        .filter(vaults::team_id.eq(team.uuid()))
        .filter(vaults::id.eq_any(ids))
        .load(connection)
        .await?;
    rows.into_iter().map(Vault::try_from).collect()
}

pub async fn list(
    connection: &mut Connection,
    team: TeamId,
    include_archived: bool,
    request: PageRequest,
) -> Result<Page<Vault>, StorageError> {
    let mut query = VaultRow::query().filter(vaults::team_id.eq(team.uuid())).into_boxed();
    if !include_archived {
        query = query.filter(vaults::archived_at.is_null());
    }
    let walk = request.walk();
    query = match walk.order {
        Order::NewestFirst => query.order((vaults::created_at.desc(), vaults::id.desc())),
        Order::OldestFirst => query.order((vaults::created_at.asc(), vaults::id.asc())),
    };
    if let Some(Cursor { created_at, id }) = walk.past {
        // As in `session/read.rs`: the first condition tells the index where to begin.
        query = match walk.order {
            Order::NewestFirst => query
                .filter(vaults::created_at.le(created_at))
                .filter(vaults::created_at.lt(created_at).or(vaults::id.lt(id))),
            Order::OldestFirst => query
                .filter(vaults::created_at.ge(created_at))
                .filter(vaults::created_at.gt(created_at).or(vaults::id.gt(id))),
        };
    }
    let rows = query.limit(walk.limit).load::<VaultRow>(connection).await?;
    let met = rows.into_iter().map(Vault::try_from).collect::<Result<Vec<_>, _>>()?;
    Ok(walk.page(met, |vault| Cursor { created_at: vault.created_at, id: vault.id.uuid() }))
}
