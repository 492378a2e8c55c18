//! Finding credentials.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use platform_core::credential::Credential;
use platform_core::id::{CredentialId, TeamId, VaultId};
use uuid::Uuid;

use super::row::CredentialRow;
use crate::schema::{credentials, vaults};
use crate::{Connection, Cursor, Order, Page, PageRequest, StorageError};

pub async fn find(
    connection: &mut Connection,
    team: TeamId,
    vault: VaultId,
    credential: CredentialId,
) -> Result<Option<Credential>, StorageError> {
    CredentialRow::query()
        .filter(credentials::team_id.eq(team.uuid()))
        .filter(credentials::vault_id.eq(vault.uuid()))
        .filter(credentials::id.eq(credential.uuid()))
        .first(connection)
        .await
        .optional()?
        .map(Credential::try_from)
        .transpose()
}

/// The credential; until the transaction ends nobody else changes it.
pub async fn lock(
    connection: &mut Connection,
    team: TeamId,
    credential: CredentialId,
) -> Result<Option<Credential>, StorageError> {
    CredentialRow::query()
        .filter(credentials::team_id.eq(team.uuid()))
        .filter(credentials::id.eq(credential.uuid()))
        .for_update()
        .first(connection)
        .await
        .optional()?
        .map(Credential::try_from)
        .transpose()
}

/// The credentials of these vaults that can be used: neither they nor their vault are archived. Oldest first.
pub async fn of_vaults(
    connection: &mut Connection,
    team: TeamId,
    ids: &[VaultId],
) -> Result<Vec<Credential>, StorageError> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let usable = vaults::table
        .filter(vaults::team_id.eq(team.uuid()))
        .filter(vaults::archived_at.is_null())
        .filter(vaults::id.eq_any(ids))
        .select(vaults::id);
    let rows = CredentialRow::query()
        .filter(credentials::team_id.eq(team.uuid()))
        .filter(credentials::archived_at.is_null())
        .filter(credentials::vault_id.eq_any(usable))
        .order((credentials::created_at.asc(), credentials::id.asc()))
        .load(connection)
        .await?;
    rows.into_iter().map(Credential::try_from).collect()
}

pub async fn list(
    connection: &mut Connection,
    team: TeamId,
    vault: VaultId,
    include_archived: bool,
    request: PageRequest,
) -> Result<Page<Credential>, StorageError> {
    let mut query = CredentialRow::query()
        .filter(credentials::team_id.eq(team.uuid()))
        .filter(credentials::vault_id.eq(vault.uuid()))
        .into_boxed();
    if !include_archived {
        query = query.filter(credentials::archived_at.is_null());
    }
    let walk = request.walk();
    query = match walk.order {
        Order::NewestFirst => query.order((credentials::created_at.desc(), credentials::id.desc())),
        Order::OldestFirst => query.order((credentials::created_at.asc(), credentials::id.asc())),
    };
    if let Some(Cursor { created_at, id }) = walk.past {
        // As in `session/read.rs`: the first condition tells the index where to begin.
        query = match walk.order {
            Order::NewestFirst => query
                .filter(credentials::created_at.le(created_at))
                .filter(credentials::created_at.lt(created_at).or(credentials::id.lt(id))),
            Order::OldestFirst => query
                .filter(credentials::created_at.ge(created_at))
                .filter(credentials::created_at.gt(created_at).or(credentials::id.gt(id))),
        };
    }
    let rows = query.limit(walk.limit).load::<CredentialRow>(connection).await?;
    let met = rows.into_iter().map(Credential::try_from).collect::<Result<Vec<_>, _>>()?;
    Ok(walk.page(met, |found| Cursor { created_at: found.created_at, id: found.id.uuid() }))
}
