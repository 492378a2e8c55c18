//! Storing decisions, and forgetting old ones.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use platform_core::egress::EgressDecision;

use super::row::DecisionRow;
use crate::schema::{egress_decisions, sessions};
use crate::{Connection, StorageError};

/// Stores decisions of any sessions; those of sessions that are deleted by now are left out. One that comes twice is stored once.
pub async fn insert(
    connection: &mut Connection,
    new: &[EgressDecision],
) -> Result<(), StorageError> {
    let wanted: Vec<_> = new.iter().map(|decision| decision.session_id.uuid()).collect();
    let living: Vec<uuid::Uuid> = sessions::table
        .filter(sessions::id.eq_any(wanted))
        .select(sessions::id)
        .for_key_share()
        .load(connection)
        .await?;
    let rows: Vec<DecisionRow> = new
        .iter()
        .filter(|decision| living.contains(&decision.session_id.uuid()))
        .map(DecisionRow::from)
        .collect();
    diesel::insert_into(egress_decisions::table)
        .values(rows)
        .on_conflict_do_nothing()
        .execute(connection)
        .await?;
    Ok(())
}

/// Removes what was decided before `time`, at most `limit` decisions of all teams. Answers how many were removed.
pub async fn forget_before(
    connection: &mut Connection,
    time: DateTime<Utc>,
    limit: i64,
) -> Result<usize, StorageError> {
    let old = egress_decisions::table
        .filter(egress_decisions::at.lt(time))
        .select(egress_decisions::id)
        .limit(limit)
        .load::<uuid::Uuid>(connection)
        .await?;
    let removed = diesel::delete(egress_decisions::table)
        .filter(egress_decisions::id.eq_any(old))
        .execute(connection)
        .await?;
    Ok(removed)
}
