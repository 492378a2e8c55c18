//! Finds, from time to time, what every event missed: things of sandboxes that are over, files of deleted sessions, rows without
//! processes. Everything is marked first and ended only when it is still there after a grace. When the database cannot be asked,
//! nothing happens; what it does not know is somebody else's.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use platform_core::id::{SandboxId, SessionId};
use platform_core::sandbox::{Sandbox, SandboxState};
use platform_runtime::presence;
use platform_storage::StorageError;
use platform_storage::sandbox::{self as rows, Workspace};
use tokio::time::Instant;
use uuid::Uuid;

use crate::backend::{BackendError, Held};
use crate::ending;
use crate::notes::Loss;
use crate::service::Service;

const LONGEST_PERIOD: Duration = Duration::from_mins(1);
/// Rows without processes wait no longer than this: somebody may wait for their session.
const LONGEST_GRACE_OF_ROWS: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Leftover {
    /// A folder, processes or cgroups, although the sandbox is gone.
    Sandbox(SandboxId),
    /// Files of a session that was deleted, or of a warm sandbox that is gone.
    Workspace(Uuid),
    /// A row that says there is a sandbox, although nothing of it runs.
    Row(SandboxId),
}

/// What was seen at the last sweep, and since when.
#[derive(Debug, Default)]
pub struct Marks(BTreeMap<Leftover, Instant>);

#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    #[error("the database cannot be asked")]
    Storage(#[from] StorageError),
    #[error("the machine cannot be looked at")]
    Look(#[from] tokio::task::JoinError),
}

/// Sweeps this machine until the service ends. Of its replicas one does so at a time.
pub async fn keep(service: Arc<Service>) {
    let grace = service.leftover_grace();
    let period = (grace / 4).min(LONGEST_PERIOD);
    let mut sole = None;
    let mut marks = Marks::default();
    loop {
        tokio::select! {
            () = service.shutdown().cancelled() => return,
            () = tokio::time::sleep(period) => {}
        }
        if sole.is_none() {
            sole = presence::alone(service.replica().marks(), "sweep");
        }
        if sole.is_none() {
            continue;
        }
        if let Err(error) = sweep(&service, &mut marks, grace).await {
            tracing::warn!(error = &error as &dyn Error, "leftovers cannot be looked for");
        }
    }
}

/// Marks what is left over, and ends what was so for the grace.
pub async fn sweep(
    service: &Arc<Service>,
    Marks(marked): &mut Marks,
    grace: Duration,
) -> Result<(), SweepError> {
    let found = look(service).await?;
    marked.retain(|leftover, _| found.contains(leftover));
    for leftover in found {
        let since = marked.entry(leftover).or_insert_with(Instant::now).elapsed();
        let is_due = match leftover {
            Leftover::Sandbox(_) | Leftover::Workspace(_) => since >= grace,
            Leftover::Row(_) => since >= grace.min(LONGEST_GRACE_OF_ROWS),
        };
        if !is_due {
            continue;
        }
        tracing::warn!(?leftover, "something was left over and is ended");
        if let Err(error) = end(service, leftover).await {
            tracing::warn!(?leftover, error = &error as &dyn Error, "it is still there");
        }
    }
    Ok(())
}

async fn look(service: &Arc<Service>) -> Result<BTreeSet<Leftover>, SweepError> {
    let looking = service.clone();
    let held = tokio::task::spawn_blocking(move || looking.backend().held()).await?;
    let Held { sandboxes, workspaces } = held;
    let ids: Vec<Uuid> = sandboxes.iter().map(|id| id.uuid()).collect();
    let names: Vec<Uuid> = workspaces.into_iter().collect();
    // Rows are read after the machine was looked at: what came to be meanwhile has one.
    let mut connection = service.database().connection().await?;
    let states = rows::find_states(&mut connection, &ids).await?;
    let wishes = rows::find_workspaces(&mut connection, &names).await?;
    let living = rows::list_living(&mut connection, service.host()).await?;
    drop(connection);
    let gone = states.into_iter().filter(|(_, state)| *state == SandboxState::Gone);
    let abandoned = wishes.into_iter().filter(|(_, wish)| *wish == Workspace::Abandoned);
    let dead = living.iter().filter(|row| has_lost_its_processes(service, row));
    Ok(gone
        .map(|(id, _)| Leftover::Sandbox(id))
        .chain(abandoned.map(|(name, _)| Leftover::Workspace(name)))
        .chain(dead.map(|row| Leftover::Row(row.id)))
        .collect())
}

fn has_lost_its_processes(service: &Service, row: &Sandbox) -> bool {
    match row.state {
        SandboxState::Warm | SandboxState::Claimed | SandboxState::Ready => {
            !service.backend().is_running(row.id)
        }
        SandboxState::Queued
        | SandboxState::Starting
        | SandboxState::Stopping
        | SandboxState::Gone => false,
    }
}

async fn end(service: &Arc<Service>, leftover: Leftover) -> Result<(), BackendError> {
    match leftover {
        Leftover::Sandbox(id) => service.backend().stop(id).await,
        Leftover::Workspace(name) => {
            service.backend().remove_workspace(SessionId::from_uuid(name)).await
        }
        Leftover::Row(id) => {
            let loss = Loss::new("exited", "the sandbox's processes are gone");
            ending::lose(service, id, loss).await;
            Ok(())
        }
    }
}
