//! Tells a sandbox that has just linked what is next for it.

use std::error::Error;
use std::sync::Arc;

use platform_core::id::SandboxId;
use platform_core::sandbox::{Sandbox, SandboxState, StartupPhase};
use platform_messaging::proto::link::frame::Body;
use platform_messaging::proto::link::{Hello, Startup};
use platform_storage::{StorageError, sandbox as rows};
use tokio::sync::mpsc;

use super::uplink::Upward;
use crate::hydrate::{HydrateError, hand_over, prepare};
use crate::reports::{self, Occupancy, SpawnMode};
use crate::service::Service;
use crate::watch;

/// Greets in the background: the answers come over the same link.
pub fn spawn(
    service: &Arc<Service>,
    sandbox: SandboxId,
    hello: Hello,
    steps: mpsc::Sender<Upward>,
) {
    let service = service.clone();
    service.clone().tasks().spawn("greeting of a sandbox", async move {
        // Read after the link was opened: a session that claims the sandbox later finds the link, one that claimed it before is seen.
        let found = service.until_done("looking up a sandbox", || find(&service, sandbox)).await;
        let Some(Some(row)) = found else { return };
        if let Err(error) = greet(&service, &row, &hello, &steps).await {
            tracing::warn!(sandbox.id = %sandbox, error = &error as &dyn Error, "a sandbox could not be told what it is for");
        }
    });
}

/// Tells session-service once more that a linked sandbox is ready, so that it sends again what may have been lost on its way.
pub async fn report_ready_again(service: &Service, sandbox: SandboxId) {
    let found = service.until_done("looking up a sandbox", || find(service, sandbox)).await;
    let ready = found.flatten().filter(|row| row.state == SandboxState::Ready);
    let Some(occupancy) = ready.as_ref().and_then(Occupancy::of) else { return };
    let (phase, open) = (StartupPhase::Ready, SpawnMode::Open);
    service
        .until_done("reporting a ready sandbox", || {
            reports::startup(service, &occupancy, phase, open, "")
        })
        .await;
}

async fn greet(
    service: &Arc<Service>,
    sandbox: &Sandbox,
    hello: &Hello,
    steps: &mpsc::Sender<Upward>,
) -> Result<(), HydrateError> {
    let is_hydrated = hello.epoch != 0;
    match sandbox.session_id {
        None if hello.harness_ready => say_ready(steps, false).await,
        None => prepare(service, sandbox).await?,
        Some(_) if is_hydrated => {
            if hello.harness_ready {
                say_ready(steps, true).await;
            }
            repeat_turn(service, sandbox.id, hello).await;
        }
        Some(_) => {
            report_linked(service, sandbox).await;
            if sandbox.state == SandboxState::Claimed {
                watch::expect_ready(service, sandbox.id);
            }
            hand_over(service, sandbox).await?;
        }
    }
    Ok(())
}

async fn find(service: &Service, sandbox: SandboxId) -> Result<Option<Sandbox>, StorageError> {
    rows::find(&mut *service.database().connection().await?, sandbox).await
}

/// As if the sandbox had said it over this link: it said it over an earlier one.
async fn say_ready(steps: &mpsc::Sender<Upward>, is_of_session: bool) {
    let startup = Startup { phase: StartupPhase::Ready.as_word().to_owned(), ..Startup::default() };
    let _link_is_gone = steps.send(Upward::Startup { startup, is_of_session }).await;
}

async fn report_linked(service: &Service, sandbox: &Sandbox) {
    let Some(occupancy) = Occupancy::of(sandbox) else { return };
    let is_warm = sandbox.state == SandboxState::Claimed;
    let mode = if is_warm { SpawnMode::Warm } else { SpawnMode::Cold };
    let reported = reports::startup(service, &occupancy, StartupPhase::Linked, mode, "").await;
    if let Err(error) = reported {
        tracing::debug!(error = &error as &dyn Error, "a phase was not reported");
    }
}

/// A turn that was written to the link before, but never read, is sent again. One that it has changes nothing.
async fn repeat_turn(service: &Service, sandbox: SandboxId, hello: &Hello) {
    let missed = service.links().last_turn(sandbox).filter(|turn| turn.turn_id != hello.turn_id);
    if let Some(turn) = missed {
        let _link_is_gone = service.links().send(sandbox, Body::StartTurn(turn)).await;
    }
}
