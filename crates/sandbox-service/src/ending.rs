//! Ends sandboxes: those that were asked to stop, and those that were lost. Nothing is reported before nothing runs any more.

use std::error::Error;
use std::sync::Arc;

use platform_core::failure::Failure;
use platform_core::id::SandboxId;
use platform_core::sandbox::{Sandbox, SandboxState};
use platform_messaging::PublishError;
use platform_storage::{StorageError, sandbox as rows};

use crate::backend::BackendError;
use crate::egress;
use crate::notes::{Loss, Notes};
use crate::reports::{self, Occupancy};
use crate::service::Service;

/// States in which a sandbox has, or will have, processes.
const LIVING: [SandboxState; 5] = [
    SandboxState::Queued,
    SandboxState::Starting,
    SandboxState::Warm,
    SandboxState::Claimed,
    SandboxState::Ready,
];

#[derive(Debug, thiserror::Error)]
pub enum EndingError {
    #[error("the sandbox's row cannot be changed")]
    Storage(#[from] StorageError),
    #[error("the sandbox's notes cannot be written")]
    Notes(#[from] serde_json::Error),
    #[error("the sandbox could not be stopped")]
    Backend(#[from] BackendError),
    #[error("the loss could not be reported")]
    Report(#[from] PublishError),
}

impl EndingError {
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Storage(error) => error.is_transient(),
            Self::Notes(_) => false,
            Self::Backend(_) | Self::Report(_) => true,
        }
    }
}

/// Ends a sandbox that was lost, and reports it. Of several that notice the loss at once, the first one counts.
pub async fn lose(service: &Arc<Service>, sandbox: SandboxId, loss: Loss) {
    let begun =
        service.until_done("ending a lost sandbox", || begin(service, sandbox, Some(&loss))).await;
    let Some(Some(row)) = begun else { return };
    if loss.is_sudden {
        service.backend().kill(sandbox);
    }
    tracing::warn!(
        sandbox.id = %sandbox,
        session.id = row.session_id.map(|id| id.to_string()),
        loss.reason,
        // Not what it quotes of the sandbox's own lines: those are cleaned where they are written into the session's log.
        loss.message = loss.message.lines().next(),
        "sandbox lost"
    );
    if row.session_id.is_none() {
        service.warm_pools().note_failure(row.environment_id);
    }
    service.until_done("ending a lost sandbox", || finish(service, &row, &loss.reason)).await;
}

/// Ends a sandbox because it is not wanted any more. Answers when it is gone for certain; may be repeated.
pub async fn stop(
    service: &Arc<Service>,
    sandbox: SandboxId,
    reason: &str,
) -> Result<(), EndingError> {
    let mut stopping = begin(service, sandbox, None).await?;
    if stopping.is_none() {
        // Somebody else began; what is left to do may be done twice.
        let found = rows::find(&mut *service.database().connection().await?, sandbox).await?;
        stopping = found.filter(|row| row.state != SandboxState::Gone);
    }
    let Some(stopping) = stopping else { return Ok(()) };
    finish(service, &stopping, reason).await?;
    tracing::info!(sandbox.id = %sandbox, reason, "sandbox stopped");
    Ok(())
}

/// As [`stop`], unless a session has claimed the sandbox meanwhile.
pub async fn stop_unclaimed(
    service: &Arc<Service>,
    sandbox: SandboxId,
    reason: &str,
) -> Result<(), EndingError> {
    let from = [SandboxState::Starting, SandboxState::Warm];
    let stopping = move_to_stopping(service, sandbox, &from, None, true).await?;
    let Some(stopping) = stopping else { return Ok(()) };
    finish(service, &stopping, reason).await?;
    tracing::info!(sandbox.id = %sandbox, reason, "warm sandbox stopped");
    Ok(())
}

/// Does what is left to do for a sandbox that is stopping.
pub async fn finish(
    service: &Arc<Service>,
    sandbox: &Sandbox,
    reason: &str,
) -> Result<(), EndingError> {
    service.backend().stop(sandbox.id).await?;
    service.links().forget(sandbox.id);
    service.tickets().forget(sandbox.id);
    service.planted().forget(sandbox.id);
    if let Err(error) = egress::close(service.broker(), service.ids(), sandbox.id).await {
        // vault-proxy notices by itself that the socket is gone.
        tracing::debug!(error = &error as &dyn Error, "the closing of a way out was not sent");
    }
    if let (Some(loss), Some(occupancy)) = (Notes::of(sandbox).loss, Occupancy::of(sandbox)) {
        reports::loss(service, &occupancy, &loss).await?;
    }
    let mut connection = service.database().connection().await?;
    rows::mark_gone(&mut connection, sandbox.id, reason, service.now()).await?;
    service.wake_admission();
    Ok(())
}

/// Marks the sandbox as stopping. `None` when it is stopping or gone already.
async fn begin(
    service: &Service,
    sandbox: SandboxId,
    loss: Option<&Loss>,
) -> Result<Option<Sandbox>, EndingError> {
    move_to_stopping(service, sandbox, &LIVING, loss, false).await
}

/// `None` when it is in none of the states `from`, or claimed although it must not be.
async fn move_to_stopping(
    service: &Service,
    sandbox: SandboxId,
    from: &[SandboxState],
    loss: Option<&Loss>,
    only_unclaimed: bool,
) -> Result<Option<Sandbox>, EndingError> {
    service
        .database()
        .transaction(async |connection| {
            let found = rows::find_for_update(connection, sandbox).await?;
            let is_meant = found.is_some_and(|row| !only_unclaimed || row.session_id.is_none());
            if !is_meant {
                return Ok(None);
            }
            let stopping = SandboxState::Stopping;
            let moved =
                rows::transition(connection, sandbox, from, stopping, service.now()).await?;
            let Some(mut moved) = moved else { return Ok(None) };
            let notes = Notes {
                loss: loss.cloned(),
                replica: Some(service.replica().name().to_owned()),
                ..Notes::of(&moved)
            };
            moved.detail = notes.to_value()?;
            rows::set_detail(connection, sandbox, &moved.detail).await?;
            Ok(Some(moved))
        })
        .await
}
