//! What a machine may still hold of sandboxes and sessions that are over.

use std::collections::{BTreeMap, BTreeSet};

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use platform_core::id::{Id, SandboxId};
use platform_core::sandbox::SandboxState;
use uuid::Uuid;

use crate::column::from_word;
use crate::schema::{sandboxes, sessions};
use crate::{Connection, StorageError};

/// Whether anybody needs a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workspace {
    /// Its session exists, or its sandbox lives.
    Wanted,
    /// This database knows of a sandbox that worked on it, and of nobody who still wants it.
    Abandoned,
    /// This database has never heard of it: it may be another installation's.
    Unknown,
}

/// In which states these sandboxes are; unknown ones are absent. Of all teams: they share the machine.
pub async fn find_states(
    connection: &mut Connection,
    ids: &[Uuid],
) -> Result<BTreeMap<SandboxId, SandboxState>, StorageError> {
    let rows: Vec<(Uuid, String)> = sandboxes::table
        .filter(sandboxes::id.eq_any(ids))
        .select((sandboxes::id, sandboxes::state))
        .load(connection)
        .await?;
    rows.into_iter()
        .map(|(id, state)| {
            let state = from_word("sandboxes.state", &state, SandboxState::from_word)?;
            Ok((Id::from_uuid(id), state))
        })
        .collect()
}

/// What is known of workspaces that bear these names: a session's, or that of a sandbox which nobody claimed. Of all teams.
pub async fn find_workspaces(
    connection: &mut Connection,
    names: &[Uuid],
) -> Result<BTreeMap<Uuid, Workspace>, StorageError> {
    let existing: Vec<Uuid> = sessions::table
        .filter(sessions::id.eq_any(names))
        .select(sessions::id)
        .load(connection)
        .await?;
    let worked: Vec<(Uuid, Option<Uuid>, String)> = sandboxes::table
        .filter(sandboxes::session_id.eq_any(names).or(sandboxes::id.eq_any(names)))
        .select((sandboxes::id, sandboxes::session_id, sandboxes::state))
        .load(connection)
        .await?;
    let mut wanted: BTreeSet<Uuid> = existing.into_iter().collect();
    let mut known = BTreeSet::new();
    for (sandbox, session, state) in worked {
        let both = [Some(sandbox), session];
        known.extend(both.into_iter().flatten());
        if state != SandboxState::Gone.as_word() {
            wanted.extend(both.into_iter().flatten());
        }
    }
    let judge = |name: &Uuid| {
        if wanted.contains(name) {
            Workspace::Wanted
        } else if known.contains(name) {
            Workspace::Abandoned
        } else {
            Workspace::Unknown
        }
    };
    Ok(names.iter().map(|name| (*name, judge(name))).collect())
}
