//! Finding environments.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use platform_core::environment::Environment;
use platform_core::id::{EnvironmentId, TeamId};

use super::row::EnvironmentRow;
use crate::schema::environments;
use crate::{Connection, Cursor, Order, Page, PageRequest, StorageError, TimeRange};

/// Which of a team's environments a list shows. The default shows all that are not archived.
#[derive(Debug, Clone, Default)]
pub struct EnvironmentFilter {
    pub created: TimeRange,
    pub include_archived: bool,
}

pub async fn find(
    connection: &mut Connection,
    team: TeamId,
    environment: EnvironmentId,
) -> Result<Option<Environment>, StorageError> {
    EnvironmentRow::query()
        .filter(environments::team_id.eq(team.uuid()))
        .filter(environments::id.eq(environment.uuid()))
        .first(connection)
        .await
        .optional()?
        .map(Environment::try_from)
        .transpose()
}

/// As [`find`]; until the transaction ends nobody else changes it.
pub async fn lock(
    connection: &mut Connection,
    team: TeamId,
    environment: EnvironmentId,
) -> Result<Option<Environment>, StorageError> {
    EnvironmentRow::query()
        .filter(environments::team_id.eq(team.uuid()))
        .filter(environments::id.eq(environment.uuid()))
        .for_no_key_update()
        .first(connection)
        .await
        .optional()?
        .map(Environment::try_from)
        .transpose()
}

/// The oldest environment of this name that is not archived. Names need not be unique.
pub async fn find_by_name(
    connection: &mut Connection,
    team: TeamId,
    name: &str,
) -> Result<Option<Environment>, StorageError> {
    EnvironmentRow::query()
        .filter(environments::team_id.eq(team.uuid()))
        .filter(environments::name.eq(name))
        .filter(environments::archived_at.is_null())
        .order((environments::created_at.asc(), environments::id.asc()))
        .first(connection)
        .await
        .optional()?
        .map(Environment::try_from)
        .transpose()
}

pub async fn list(
    connection: &mut Connection,
    team: TeamId,
    filter: &EnvironmentFilter,
    request: PageRequest,
) -> Result<Page<Environment>, StorageError> {
    let mut query =
        EnvironmentRow::query().filter(environments::team_id.eq(team.uuid())).into_boxed();
    if !filter.include_archived {
        query = query.filter(environments::archived_at.is_null());
    }
    if let Some(bound) = filter.created.after {
        query = query.filter(environments::created_at.gt(bound));
    }
    if let Some(bound) = filter.created.from {
        query = query.filter(environments::created_at.ge(bound));
    }
    if let Some(bound) = filter.created.before {
        query = query.filter(environments::created_at.lt(bound));
    }
    if let Some(bound) = filter.created.until {
        query = query.filter(environments::created_at.le(bound));
    }
    let walk = request.walk();
    query = match walk.order {
        Order::NewestFirst => {
            query.order((environments::created_at.desc(), environments::id.desc()))
        }
        Order::OldestFirst => query.order((environments::created_at.asc(), environments::id.asc())),
    };
    if let Some(Cursor { created_at, id }) = walk.past {
        // As in `session/read.rs`: the first condition tells the index where to begin.
        query = match walk.order {
            Order::NewestFirst => query
                .filter(environments::created_at.le(created_at))
                .filter(environments::created_at.lt(created_at).or(environments::id.lt(id))),
            Order::OldestFirst => query
                .filter(environments::created_at.ge(created_at))
                .filter(environments::created_at.gt(created_at).or(environments::id.gt(id))),
        };
    }
    let rows = query.limit(walk.limit).load::<EnvironmentRow>(connection).await?;
    let met = rows.into_iter().map(Environment::try_from).collect::<Result<Vec<_>, _>>()?;
    Ok(walk.page(met, |environment| Cursor {
        created_at: environment.created_at,
        id: environment.id.uuid(),
    }))
}
