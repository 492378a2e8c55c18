//! Listing decisions.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use platform_core::egress::{EgressDecision, Verdict};
use platform_core::id::{SessionId, TeamId};

use super::row::DecisionRow;
use crate::schema::egress_decisions as decisions;
use crate::{Connection, Cursor, Order, Page, PageRequest, StorageError};

/// Which of a session's decisions a list shows. The default shows all.
#[derive(Debug, Clone, Default)]
pub struct DecisionFilter {
    pub verdict: Option<Verdict>,
    pub host: Option<String>,
}

pub async fn list(
    connection: &mut Connection,
    team: TeamId,
    session: SessionId,
    filter: &DecisionFilter,
    request: PageRequest,
) -> Result<Page<EgressDecision>, StorageError> {
    let mut query = DecisionRow::query()
        .filter(decisions::team_id.eq(team.uuid()))
        .filter(decisions::session_id.eq(session.uuid()))
        .into_boxed();
    if let Some(verdict) = filter.verdict {
        query = query.filter(decisions::verdict.eq(verdict.as_word()));
    }
    if let Some(host) = &filter.host {
        query = query.filter(decisions::host.eq(host.clone()));
    }
    let walk = request.walk();
    query = match walk.order {
        Order::NewestFirst => query.order((decisions::at.desc(), decisions::id.desc())),
        Order::OldestFirst => query.order((decisions::at.asc(), decisions::id.asc())),
    };
    if let Some(Cursor { created_at, id }) = walk.past {
        // As in `session/read.rs`: the first condition tells the index where to begin.
        query = match walk.order {
            Order::NewestFirst => query
                .filter(decisions::at.le(created_at))
                .filter(decisions::at.lt(created_at).or(decisions::id.lt(id))),
            Order::OldestFirst => query
                .filter(decisions::at.ge(created_at))
                .filter(decisions::at.gt(created_at).or(decisions::id.gt(id))),
        };
    }
    let rows = query.limit(walk.limit).load::<DecisionRow>(connection).await?;
    let met = rows.into_iter().map(EgressDecision::try_from).collect::<Result<Vec<_>, _>>()?;
    Ok(walk.page(met, |decision| Cursor { created_at: decision.at, id: decision.id.uuid() }))
}
