//! Rows of `turns` and what they mean.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use platform_core::id::{Id, SessionId, TeamId};
use platform_core::sandbox::Epoch;
use platform_core::turn::{Turn, TurnState};
use serde_json::Value;
use uuid::Uuid;

use crate::StorageError;
use crate::column::{from_bigint, from_json, to_bigint, to_json, unreadable};
use crate::schema::turns;

#[derive(HasQuery, Insertable)]
#[diesel(table_name = turns)]
pub(super) struct TurnRow {
    id: Uuid,
    team_id: Uuid,
    session_id: Uuid,
    ordinal: i64,
    event_number: i64,
    state: String,
    epoch: Option<i64>,
    attempts: i32,
    stop_reason: Option<String>,
    created_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    ended_at: Option<DateTime<Utc>>,
    interrupt_requested: bool,
    actions: Value,
}

impl TurnRow {
    pub(super) fn new(team: TeamId, session: SessionId, turn: &Turn) -> Result<Self, StorageError> {
        let (epoch, stop_reason, ended_at) = match &turn.state {
            TurnState::Queued => (None, None, None),
            TurnState::Dispatched { epoch }
            | TurnState::Running { epoch }
            | TurnState::Waiting { epoch } => (Some(to_bigint(epoch.0)), None, None),
            TurnState::Ended { reason, at } => (None, Some(reason.as_word().to_owned()), Some(*at)),
        };
        Ok(Self {
            id: turn.id.uuid(),
            team_id: team.uuid(),
            session_id: session.uuid(),
            ordinal: turn.ordinal,
            event_number: turn.event_number,
            state: turn.state.as_word().to_owned(),
            epoch,
            attempts: i32::try_from(turn.attempts).unwrap_or(i32::MAX),
            stop_reason,
            created_at: turn.created_at,
            started_at: turn.started_at,
            ended_at,
            interrupt_requested: turn.interrupt_requested,
            actions: to_json("turns.actions", &turn.actions)?,
        })
    }

    fn state(&self) -> Result<TurnState, StorageError> {
        let epoch = || {
            let epoch = self.epoch.ok_or_else(|| unreadable("turns.epoch", "null"))?;
            from_bigint("turns.epoch", epoch).map(Epoch)
        };
        match self.state.as_str() {
            "queued" => Ok(TurnState::Queued),
            "dispatched" => Ok(TurnState::Dispatched { epoch: epoch()? }),
            "running" => Ok(TurnState::Running { epoch: epoch()? }),
            "waiting" => Ok(TurnState::Waiting { epoch: epoch()? }),
            "ended" => {
                let word = self.stop_reason.as_deref().unwrap_or_default();
                let reason =
                    word.parse().map_err(|error| unreadable("turns.stop_reason", error))?;
                let at = self.ended_at.ok_or_else(|| unreadable("turns.ended_at", "null"))?;
                Ok(TurnState::Ended { reason, at })
            }
            other => Err(unreadable("turns.state", format!("unknown word {other:?}"))),
        }
    }
}

impl TryFrom<TurnRow> for Turn {
    type Error = StorageError;

    fn try_from(row: TurnRow) -> Result<Self, StorageError> {
        let attempts =
            u32::try_from(row.attempts).map_err(|error| unreadable("turns.attempts", error))?;
        Ok(Self {
            id: Id::from_uuid(row.id),
            ordinal: row.ordinal,
            event_number: row.event_number,
            state: row.state()?,
            attempts,
            interrupt_requested: row.interrupt_requested,
            actions: from_json("turns.actions", row.actions)?,
            created_at: row.created_at,
            started_at: row.started_at,
        })
    }
}
