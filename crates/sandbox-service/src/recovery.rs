//! Takes over what another process of this service left behind: at the start, and from time to time while others may die.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use platform_core::sandbox::{Sandbox, SandboxState};
use platform_storage::{StorageError, sandbox as rows};

use crate::backend::Ended;
use crate::link::spawn_grace;
use crate::notes::{Loss, Notes};
use crate::service::Service;
use crate::{ending, start, watch};

const PERIOD: Duration = Duration::from_mins(1);

/// Looks for sandboxes whose replica is gone until the service ends.
pub async fn keep(service: Arc<Service>) {
    loop {
        match take_over(&service).await {
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(error = &error as &dyn Error, "sandboxes cannot be looked for");
            }
        }
        tokio::select! {
            () = service.shutdown().cancelled() => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

async fn take_over(service: &Arc<Service>) -> Result<(), StorageError> {
    let mut connection = service.database().connection().await?;
    let living = rows::list_living(&mut connection, service.host()).await?;
    drop(connection);
    for sandbox in living {
        let notes = Notes::of(&sandbox);
        let replica = notes.replica.as_deref();
        // A queued one has no replica and needs none.
        let is_looked_after = match replica {
            Some(replica) => service.replica().is_alive(replica).await,
            None => false,
        };
        if !is_looked_after {
            service.take_in_hand("takeover of a sandbox", sandbox.id, |service| async move {
                adopt(&service, sandbox, notes).await;
            });
        }
    }
    Ok(())
}

async fn adopt(service: &Arc<Service>, sandbox: Sandbox, notes: Notes) {
    match sandbox.state {
        SandboxState::Queued => service.wake_admission(),
        SandboxState::Stopping => {
            let reason = notes.loss.map_or_else(|| "superseded".to_owned(), |loss| loss.reason);
            service
                .until_done("ending a sandbox", || ending::finish(service, &sandbox, &reason))
                .await;
        }
        SandboxState::Starting
        | SandboxState::Warm
        | SandboxState::Claimed
        | SandboxState::Ready
            if service.backend().adopt(sandbox.id) =>
        {
            tracing::info!(sandbox.id = %sandbox.id, "sandbox taken over");
            watch::spawn(service, sandbox.id);
            // One that still starts dials when it is as far as that.
            if sandbox.state != SandboxState::Starting {
                spawn_grace(service, sandbox.id);
            }
        }
        SandboxState::Starting => start_over(service, &sandbox, &notes).await,
        SandboxState::Warm | SandboxState::Claimed | SandboxState::Ready => {
            let Ended { reason, message } = service.backend().ended(sandbox.id).await;
            ending::lose(service, sandbox.id, Loss::new(reason, message)).await;
        }
        SandboxState::Gone => {}
    }
}

/// A start that its process did not finish begins again; what is left of it goes first.
async fn start_over(service: &Arc<Service>, sandbox: &Sandbox, notes: &Notes) {
    let stopped = service
        .until_done("stopping an unfinished start", || service.backend().stop(sandbox.id))
        .await;
    if stopped.is_none() {
        return;
    }
    if sandbox.session_id.is_none() {
        // Of a warm pool, which is filled again by itself.
        service
            .until_done("ending a warm sandbox", || ending::stop(service, sandbox.id, "superseded"))
            .await;
        return;
    }
    let notes = Notes { replica: None, ..notes.clone() };
    service
        .until_done("putting a sandbox back into the queue", || {
            start::queue_again(service, sandbox, &notes)
        })
        .await;
}
