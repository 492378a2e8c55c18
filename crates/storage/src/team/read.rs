//! Finding teams.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use platform_core::budget::{Allowance, NanoDollars};
use platform_core::id::TeamId;
use platform_core::team::Team;

use super::row::{TeamRow, to_budget};
use crate::column::from_bigint;
use crate::schema::teams;
use crate::{Connection, Cursor, Order, Page, PageRequest, StorageError};

pub async fn find(connection: &mut Connection, team: TeamId) -> Result<Option<Team>, StorageError> {
    let row = TeamRow::query().filter(teams::id.eq(team.uuid())).first(connection).await;
    row.optional()?.map(Team::try_from).transpose()
}

/// What the team may spend and has spent.
pub async fn allowance(
    mut connection: &Connection,
    team: TeamId,
) -> Result<Allowance, StorageError> {
    let found: Option<(Option<i64>, i64)> = teams::table
        .find(team.uuid())
        .select((teams::budget_nano_usd, teams::spent_nano_usd))
        .first(&mut connection)
        .await
        .optional()?;
    let (budget, spent) = found.ok_or(StorageError::NotFound("team"))?;
    let spent = NanoDollars(from_bigint("teams.spent_nano_usd", spent)?);
    Ok(Allowance { budget: budget.map(to_budget).transpose()?, spent })
}

/// As [`find`]; until the transaction ends nobody else changes it.
pub async fn lock(connection: &mut Connection, team: TeamId) -> Result<Option<Team>, StorageError> {
    let query = TeamRow::query().filter(teams::id.eq(team.uuid())).for_no_key_update();
    query.first(connection).await.optional()?.map(Team::try_from).transpose()
}

pub async fn find_by_name(
    connection: &mut Connection,
    name: &str,
) -> Result<Option<Team>, StorageError> {
    let row = TeamRow::query().filter(teams::name.eq(name)).first(connection).await;
    row.optional()?.map(Team::try_from).transpose()
}

pub async fn list(
    connection: &mut Connection,
    request: PageRequest,
) -> Result<Page<Team>, StorageError> {
    let walk = request.walk();
    let mut query = TeamRow::query().into_boxed();
    query = match walk.order {
        Order::NewestFirst => query.order((teams::created_at.desc(), teams::id.desc())),
        Order::OldestFirst => query.order((teams::created_at.asc(), teams::id.asc())),
    };
    if let Some(Cursor { created_at, id }) = walk.past {
        // As in `session/read.rs`: the first condition tells the index where to begin.
        query = match walk.order {
            Order::NewestFirst => query
                .filter(teams::created_at.le(created_at))
                .filter(teams::created_at.lt(created_at).or(teams::id.lt(id))),
            Order::OldestFirst => query
                .filter(teams::created_at.ge(created_at))
                .filter(teams::created_at.gt(created_at).or(teams::id.gt(id))),
        };
    }
    let rows = query.limit(walk.limit).load::<TeamRow>(connection).await?;
    let met = rows.into_iter().map(Team::try_from).collect::<Result<Vec<_>, _>>()?;
    Ok(walk.page(met, |team: &Team| Cursor { created_at: team.created_at, id: team.id.uuid() }))
}
