//! Takes over what another process of this service left behind: at the start, and from time to time while others may die.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use platform_core::id::SandboxId;
use platform_core::sandbox::{Sandbox, SandboxState};
use platform_storage::sandbox as rows;
use tokio::time::Instant;

use crate::absences::AWAY_AT_MOST;
use crate::backend::Ended;
use crate::link::replica::Others;
use crate::link::spawn_grace;
use crate::notes::{self, Loss, Notes, NotesError};
use crate::service::Service;
use crate::{absences, ending, start, watch};

/// How often it is looked whether another replica has ended.
const GLANCE_PERIOD: Duration = Duration::from_millis(250);
/// How often all sandboxes are looked through even if nobody has.
const PERIOD: Duration = Duration::from_mins(1);

/// Looks for sandboxes whose replica is gone until the service ends.
pub async fn keep(service: Arc<Service>) {
    absences::show(&service).await;
    let mut others = Others::default();
    let mut looked_through: Option<Instant> = None;
    loop {
        let seen = service.replica().others();
        let has_ended = others.living.iter().any(|name| !seen.living.contains(name));
        // Somebody who is away has come back by then, or counts as dead.
        let period = if service.absences().has_doubts() { AWAY_AT_MOST } else { PERIOD };
        let is_due = looked_through.is_none_or(|at| at.elapsed() > period);
        if has_ended || !seen.dead.is_empty() || is_due {
            match take_over(&service).await {
                Ok(()) => {
                    seen.dead.iter().for_each(|name| service.replica().forget(name));
                    looked_through = Some(Instant::now());
                    others = seen;
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn Error, "sandboxes cannot be looked for");
                }
            }
        } else {
            others = seen;
        }
        tokio::select! {
            () = service.shutdown().cancelled() => return,
            () = tokio::time::sleep(GLANCE_PERIOD) => {}
        }
    }
}

async fn take_over(service: &Arc<Service>) -> Result<(), NotesError> {
    let mut connection = service.database().connection().await?;
    let living = rows::list_living(&mut connection, service.host()).await?;
    drop(connection);
    for sandbox in living {
        if sandbox.state == SandboxState::Queued {
            // It has no replica and needs none.
            service.wake_admission();
            continue;
        }
        let replica = Notes::of(&sandbox).replica;
        let is_looked_after = match &replica {
            Some(replica) => absences::is_alive(service, replica).await,
            None => false,
        };
        if is_looked_after {
            continue;
        }
        if let Some(ours) = claim(service, sandbox.id, replica.as_deref()).await? {
            service.take_in_hand("takeover of a sandbox", ours.id, |service| async move {
                adopt(&service, ours).await;
            });
        }
    }
    Ok(())
}

/// Makes this replica the one that looks after the sandbox, if nobody else was faster.
async fn claim(
    service: &Service,
    sandbox: SandboxId,
    from: Option<&str>,
) -> Result<Option<Sandbox>, NotesError> {
    notes::change(service.database(), sandbox, |row, notes| {
        let is_theirs = notes.replica.as_deref() == from;
        notes.replica = Some(service.replica().name().to_owned());
        is_theirs && !matches!(row.state, SandboxState::Queued | SandboxState::Gone)
    })
    .await
}

async fn adopt(service: &Arc<Service>, sandbox: Sandbox) {
    match sandbox.state {
        SandboxState::Stopping => {
            let loss = Notes::of(&sandbox).loss;
            let reason = loss.map_or_else(|| "superseded".to_owned(), |loss| loss.reason);
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
            if sandbox.state == SandboxState::Claimed {
                watch::expect_ready(service, sandbox.id);
            }
        }
        SandboxState::Starting => start_over(service, &sandbox).await,
        SandboxState::Warm | SandboxState::Claimed | SandboxState::Ready => {
            let Ended { reason, message } = service.backend().ended(sandbox.id).await;
            ending::lose(service, sandbox.id, Loss::new(reason, message)).await;
        }
        SandboxState::Queued | SandboxState::Gone => {}
    }
}

/// A start that its process did not finish begins again; what is left of it goes first.
async fn start_over(service: &Arc<Service>, sandbox: &Sandbox) {
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
    service
        .until_done("putting a sandbox back into the queue", || {
            start::queue_again(service, sandbox, false)
        })
        .await;
}
