//! A sandbox's way from the queue to its end. Of all teams: the rows belong to sandbox-service.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use platform_core::id::SandboxId;
use platform_core::sandbox::{Sandbox, SandboxState};
use serde_json::{Value, json};

use super::read;
use super::row::SandboxRow;
use crate::schema::sandboxes;
use crate::{Connection, StorageError};

/// Stores the sandbox for one epoch of a session, or finds the one that was stored for it before.
pub async fn insert_queued(
    connection: &mut Connection,
    sandbox: &Sandbox,
) -> Result<Sandbox, StorageError> {
    let inserted = diesel::insert_into(sandboxes::table)
        .values(SandboxRow::try_from(sandbox)?)
        .on_conflict_do_nothing()
        .execute(connection)
        .await?;
    if inserted == 1 {
        return Ok(sandbox.clone());
    }
    let (Some(team), Some(session), Some(epoch)) =
        (sandbox.team_id, sandbox.session_id, sandbox.epoch)
    else {
        return Err(StorageError::AlreadyExists("sandboxes_pkey".to_owned()));
    };
    read::find_by_session_epoch(connection, team, session, epoch)
        .await?
        .ok_or_else(|| StorageError::AlreadyExists("sandboxes_of_session".to_owned()))
}

/// Moves the sandbox to state `to` if it is in one of `from`, so that of several that try at once one succeeds.
///
/// `None`: it is in another state or unknown. `Ready` also notes when.
pub async fn transition(
    connection: &mut Connection,
    sandbox: SandboxId,
    from: &[SandboxState],
    to: SandboxState,
    now: DateTime<Utc>,
) -> Result<Option<Sandbox>, StorageError> {
    let from_words: Vec<_> = from.iter().map(|state| state.as_word()).collect();
    let ready_at = (to == SandboxState::Ready).then(|| sandboxes::ready_at.eq(now));
    diesel::update(sandboxes::table)
        .filter(sandboxes::id.eq(sandbox.uuid()))
        .filter(sandboxes::state.eq_any(from_words))
        .set((sandboxes::state.eq(to.as_word()), ready_at))
        .returning(SandboxRow::as_returning())
        .get_result(connection)
        .await
        .optional()?
        .map(Sandbox::try_from)
        .transpose()
}

/// Replaces the service's own notes on the sandbox.
pub async fn set_detail(
    connection: &mut Connection,
    sandbox: SandboxId,
    detail: &Value,
) -> Result<(), StorageError> {
    let updated = diesel::update(sandboxes::table.find(sandbox.uuid()))
        .set(sandboxes::detail.eq(detail))
        .execute(connection)
        .await?;
    if updated == 1 { Ok(()) } else { Err(StorageError::NotFound("sandbox")) }
}

/// Keeps the hash of the token that the sandbox-agent will show.
pub async fn set_token_hash(
    connection: &mut Connection,
    sandbox: SandboxId,
    hash: &[u8],
) -> Result<(), StorageError> {
    let updated = diesel::update(sandboxes::table.find(sandbox.uuid()))
        .set(sandboxes::token_hash.eq(hash))
        .execute(connection)
        .await?;
    if updated == 1 { Ok(()) } else { Err(StorageError::NotFound("sandbox")) }
}

/// Keeps the hash of what the sandbox will show to vault-proxy. An earlier one is worth nothing from now on.
pub async fn set_egress_ticket_hash(
    connection: &mut Connection,
    sandbox: SandboxId,
    hash: &[u8],
) -> Result<(), StorageError> {
    let updated = diesel::update(sandboxes::table.find(sandbox.uuid()))
        .set(sandboxes::egress_ticket_hash.eq(hash))
        .execute(connection)
        .await?;
    if updated == 1 { Ok(()) } else { Err(StorageError::NotFound("sandbox")) }
}

/// Notes that the sandbox has ended and why, and forgets what only a living one needs. Answers false when it was gone before.
pub async fn mark_gone(
    connection: &mut Connection,
    sandbox: SandboxId,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<bool, StorageError> {
    let updated = diesel::update(sandboxes::table)
        .filter(sandboxes::id.eq(sandbox.uuid()))
        .filter(sandboxes::state.ne(SandboxState::Gone.as_word()))
        .set((
            sandboxes::state.eq(SandboxState::Gone.as_word()),
            sandboxes::exit_reason.eq(reason),
            sandboxes::gone_at.eq(now),
            sandboxes::token_hash.eq(None::<Vec<u8>>),
            sandboxes::egress_ticket_hash.eq(None::<Vec<u8>>),
            sandboxes::detail.eq(json!({})),
        ))
        .execute(connection)
        .await?;
    Ok(updated == 1)
}
