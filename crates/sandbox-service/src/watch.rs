//! Watches one sandbox: that it comes up in time, and when its processes end.

use std::sync::Arc;
use std::time::Duration;

use platform_core::id::SandboxId;
use platform_core::sandbox::{Sandbox, SandboxState};
use platform_storage::{StorageError, sandbox as rows};

use crate::absences;
use crate::backend::Ended;
use crate::ending;
use crate::notes::{Loss, Notes};
use crate::service::Service;

/// How long one attempt may take from the first process to `ready`. Starts are bound by the processor, and many may start at once.
const START_WITHIN: Duration = Duration::from_mins(2);
const MOST_STARTS: u32 = 2;
/// How long a warm sandbox may take to become its session's.
const CLAIM_WITHIN: Duration = Duration::from_mins(1);
/// How long the last words of a sandbox that died may be on their way to the log.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Watches the sandbox in the background. One that is watched already is left alone.
pub fn spawn(service: &Arc<Service>, sandbox: SandboxId) {
    if !service.begin_watch(sandbox) {
        return;
    }
    let service = service.clone();
    service.clone().tasks().spawn("watch of a sandbox", async move {
        watch(&service, sandbox).await;
        service.end_watch(sandbox);
    });
}

async fn watch(service: &Arc<Service>, sandbox: SandboxId) {
    let ended = service.backend().ended(sandbox);
    let deadline = tokio::time::sleep(START_WITHIN);
    tokio::pin!(ended, deadline);
    let mut is_up = false;
    loop {
        tokio::select! {
            () = service.shutdown().cancelled() => return,
            Ended { reason, message } = &mut ended => {
                if is_anothers(service, sandbox).await {
                    return;
                }
                // What it wrote before it died goes into the log before its epoch is over.
                service.links().wait_until_settled(sandbox, LAST_WORDS).await;
                ending::lose(service, sandbox, Loss::new(reason, message)).await;
                return;
            }
            () = &mut deadline, if !is_up => {
                let looked = service
                    .until_done("looking at a sandbox", || look(service, sandbox))
                    .await;
                let Some(Some(row)) = looked else { return };
                match row.state {
                    SandboxState::Starting => {
                        time_out(service, row).await;
                        return;
                    }
                    SandboxState::Claimed => {
                        expect_ready(service, sandbox);
                        is_up = true;
                    }
                    SandboxState::Queued
                    | SandboxState::Warm
                    | SandboxState::Ready
                    | SandboxState::Stopping
                    | SandboxState::Gone => is_up = true,
                }
            }
        }
    }
}

/// Whether another replica, which lives, holds the sandbox's link: it watches too, and hears its last words.
async fn is_anothers(service: &Service, sandbox: SandboxId) -> bool {
    let looked = service.until_done("looking at a sandbox", || look(service, sandbox)).await;
    let Some(holder) = looked.flatten().and_then(|row| Notes::of(&row).replica) else {
        return false;
    };
    holder != service.replica().name() && absences::is_alive(service, &holder).await
}

async fn look(service: &Service, sandbox: SandboxId) -> Result<Option<Sandbox>, StorageError> {
    rows::find(&mut *service.database().connection().await?, sandbox).await
}

/// Sees to it, in the background, that a warm sandbox that was claimed becomes ready, or is given up.
pub fn expect_ready(service: &Arc<Service>, sandbox: SandboxId) {
    let service = service.clone();
    service.clone().tasks().spawn("deadline of a claim", async move {
        tokio::select! {
            () = service.shutdown().cancelled() => return,
            () = tokio::time::sleep(CLAIM_WITHIN) => {}
        }
        let looked = service.until_done("looking at a sandbox", || look(&service, sandbox)).await;
        let is_stuck = looked.flatten().is_some_and(|row| row.state == SandboxState::Claimed);
        if is_stuck {
            let seconds = CLAIM_WITHIN.as_secs();
            let message = format!("the warm sandbox did not take its session up in {seconds} s");
            ending::lose(&service, sandbox, Loss::new("start_timed_out", message)).await;
        }
    });
}

/// Starts a sandbox that did not come up over again, once; then gives it up.
async fn time_out(service: &Arc<Service>, sandbox: Sandbox) {
    let failed_starts = Notes::of(&sandbox).failed_starts + 1;
    if failed_starts >= MOST_STARTS {
        let message = format!(
            "the sandbox was not ready within {} s, {failed_starts} times in a row; the machine may be overloaded",
            START_WITHIN.as_secs()
        );
        ending::lose(service, sandbox.id, Loss::new("start_timed_out", message)).await;
        return;
    }
    tracing::warn!(sandbox.id = %sandbox.id, "the sandbox was not ready in time and is started again");
    let stopped = service
        .until_done("stopping a sandbox that did not start", || service.backend().stop(sandbox.id))
        .await;
    if stopped.is_some() {
        service
            .until_done("putting a sandbox back into the queue", || {
                crate::start::queue_again(service, &sandbox, true)
            })
            .await;
    }
}
