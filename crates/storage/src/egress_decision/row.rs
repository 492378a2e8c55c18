//! Rows of `egress_decisions` and what they mean.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use platform_core::egress::{EgressDecision, Verdict};
use platform_core::id::Id;
use uuid::Uuid;

use crate::StorageError;
use crate::column::{from_bigint, from_word, to_bigint, unreadable};
use crate::schema::egress_decisions;

#[derive(HasQuery, Insertable)]
#[diesel(table_name = egress_decisions)]
pub(super) struct DecisionRow {
    id: Uuid,
    team_id: Uuid,
    session_id: Uuid,
    sandbox_id: Uuid,
    at: DateTime<Utc>,
    verdict: String,
    rule: String,
    code: Option<String>,
    host: String,
    port: i32,
    method: Option<String>,
    path: Option<String>,
    status: Option<i32>,
    bytes_out: i64,
    bytes_in: i64,
}

impl From<&EgressDecision> for DecisionRow {
    fn from(decision: &EgressDecision) -> Self {
        Self {
            id: decision.id.uuid(),
            team_id: decision.team_id.uuid(),
            session_id: decision.session_id.uuid(),
            sandbox_id: decision.sandbox_id.uuid(),
            at: decision.at,
            verdict: decision.verdict.as_word().to_owned(),
            rule: printable(&decision.rule),
            code: decision.code.clone(),
            host: printable(&decision.host),
            port: decision.port.into(),
            method: decision.method.as_deref().map(printable),
            path: decision.path.as_deref().map(printable),
            status: decision.status.map(Into::into),
            bytes_out: to_bigint(decision.bytes_out),
            bytes_in: to_bigint(decision.bytes_in),
        }
    }
}

/// What a sandbox sent may hold what PostgreSQL's text cannot.
fn printable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

impl TryFrom<DecisionRow> for EgressDecision {
    type Error = StorageError;

    fn try_from(row: DecisionRow) -> Result<Self, StorageError> {
        let small =
            |column, number: i32| u16::try_from(number).map_err(|error| unreadable(column, error));
        Ok(Self {
            id: Id::from_uuid(row.id),
            team_id: Id::from_uuid(row.team_id),
            session_id: Id::from_uuid(row.session_id),
            sandbox_id: Id::from_uuid(row.sandbox_id),
            at: row.at,
            verdict: from_word("egress_decisions.verdict", &row.verdict, Verdict::from_word)?,
            rule: row.rule,
            code: row.code,
            host: row.host,
            port: small("egress_decisions.port", row.port)?,
            method: row.method,
            path: row.path,
            status: row
                .status
                .map(|status| small("egress_decisions.status", status))
                .transpose()?,
            bytes_out: from_bigint("egress_decisions.bytes_out", row.bytes_out)?,
            bytes_in: from_bigint("egress_decisions.bytes_in", row.bytes_in)?,
        })
    }
}
