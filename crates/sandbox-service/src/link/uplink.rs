//! What comes up a link and must be dealt with in order: start-up phases and batches of the journal.

use std::error::Error;
use std::sync::Arc;

use platform_core::failure::FailureKind;
use platform_core::id::{CommandId, SandboxId, TurnId};
use platform_core::journal;
use platform_core::sandbox::{Sandbox, SandboxState, StartupPhase};
use platform_messaging::proto::link::frame::Body;
use platform_messaging::proto::link::{Entry, JournalAck, Startup, Stop};
use platform_messaging::proto::session::{JournalEntry, Refused};
use platform_storage::{StorageError, sandbox as rows};
use tokio::sync::mpsc;

use crate::ending;
use crate::notes::Loss;
use crate::reports::{self, Occupancy, SpawnMode};
use crate::service::Service;
use crate::snapshots;

/// Steps that may wait. sandbox-agent sends a batch only when the one before was acknowledged, so few ever do.
pub const WAITING: usize = 32;

/// One step, in the order in which the sandbox took it.
#[derive(Debug)]
pub enum Upward {
    /// `is_of_session`: it speaks of the session, not of the time before there was one.
    Startup {
        startup: Startup,
        is_of_session: bool,
    },
    Journal(Vec<Entry>),
}

/// Why nothing more of this link is dealt with.
enum Over {
    /// The service ends.
    Ending,
    /// The session wants this sandbox no more.
    Refused(Refused),
}

/// Deals with what comes until the link's other side is dropped.
pub async fn run(service: Arc<Service>, sandbox: SandboxId, mut steps: mpsc::Receiver<Upward>) {
    let mut occupancy = None;
    // A sandbox that links anew says so by itself too, and whatever waits for it is handed over at each report.
    let mut is_reported_ready = false;
    while let Some(step) = steps.recv().await {
        let dealt_with = match step {
            Upward::Startup { startup, is_of_session } => {
                let is_ready = is_of_session && startup.phase == StartupPhase::Ready.as_word();
                if is_ready && std::mem::replace(&mut is_reported_ready, true) {
                    continue;
                }
                report_startup(&service, sandbox, &startup, is_of_session).await
            }
            Upward::Journal(entries) => append(&service, sandbox, &mut occupancy, entries).await,
        };
        match dealt_with {
            Ok(()) => {}
            Err(Over::Ending) => return,
            Err(Over::Refused(refused)) => {
                give_up(&service, sandbox, refused).await;
                return;
            }
        }
    }
}

async fn report_startup(
    service: &Arc<Service>,
    sandbox: SandboxId,
    startup: &Startup,
    is_of_session: bool,
) -> Result<(), Over> {
    let Ok(phase) = startup.phase.parse::<StartupPhase>() else {
        tracing::warn!(sandbox.id = %sandbox, phase = startup.phase, "an unknown phase was reported");
        return Ok(());
    };
    if !is_of_session {
        if phase == StartupPhase::Ready {
            retried(service, "noting a warm sandbox", || note_warm(service, sandbox)).await?;
            service.wake_admission();
        }
        return Ok(());
    }
    let reached =
        retried(service, "noting a phase", || note_phase(service, sandbox, phase)).await?;
    let Some(row) = reached else { return Ok(()) };
    let Some(occupancy) = Occupancy::of(&row) else { return Ok(()) };
    let mode = match row.state {
        SandboxState::Claimed => SpawnMode::Warm,
        SandboxState::Starting => SpawnMode::Cold,
        SandboxState::Queued
        | SandboxState::Warm
        | SandboxState::Ready
        | SandboxState::Stopping
        | SandboxState::Gone => SpawnMode::Open,
    };
    if phase != StartupPhase::Ready {
        let reported = reports::startup(service, &occupancy, phase, mode, &startup.detail).await;
        if let Err(error) = reported {
            tracing::debug!(error = &error as &dyn Error, "a phase was not reported");
        }
        return Ok(());
    }
    service.wake_admission();
    let answer =
        retried(service, "reporting a ready sandbox", || reports::ready(service, &occupancy, mode))
            .await?;
    answer.map_err(Over::Refused)
}

/// Lets sessions claim a sandbox that is ready for one.
async fn note_warm(service: &Service, sandbox: SandboxId) -> Result<(), StorageError> {
    let mut connection = service.database().connection().await?;
    let (from, to) = ([SandboxState::Starting], SandboxState::Warm);
    let unclaimed =
        rows::find(&mut connection, sandbox).await?.filter(|row| row.session_id.is_none());
    if let Some(row) = unclaimed {
        rows::transition(&mut connection, sandbox, &from, to, service.now()).await?;
        service.warm_pools().note_success(row.environment_id);
    }
    Ok(())
}

/// Moves the row when the sandbox is ready for turns. Answers the row as it was before, or `None` when its time is over.
async fn note_phase(
    service: &Service,
    sandbox: SandboxId,
    phase: StartupPhase,
) -> Result<Option<Sandbox>, StorageError> {
    let mut connection = service.database().connection().await?;
    let Some(row) = rows::find(&mut connection, sandbox).await? else { return Ok(None) };
    if phase == StartupPhase::Ready {
        let (from, to) = ([SandboxState::Starting, SandboxState::Claimed], SandboxState::Ready);
        rows::transition(&mut connection, sandbox, &from, to, service.now()).await?;
    }
    Ok((!matches!(row.state, SandboxState::Stopping | SandboxState::Gone)).then_some(row))
}

async fn append(
    service: &Arc<Service>,
    sandbox: SandboxId,
    occupancy: &mut Option<Occupancy>,
    entries: Vec<Entry>,
) -> Result<(), Over> {
    if occupancy.is_none() {
        let row = retried(service, "looking up a sandbox", || find(service, sandbox)).await?;
        *occupancy = row.as_ref().and_then(Occupancy::of);
    }
    let Some(known) = *occupancy else {
        tracing::warn!(sandbox.id = %sandbox, "a sandbox without a session sent a journal");
        return Ok(());
    };
    let mut waiting = Vec::with_capacity(entries.len());
    for entry in entries {
        if let Some(turn) = ended_turn(&entry) {
            // What the turn did is not held up; its end is, so that whoever sees it can go on from its files.
            hand_over(service, &known, std::mem::take(&mut waiting)).await?;
            snapshots::keep(service, &known, turn).await;
        }
        waiting.push(JournalEntry { number: entry.number, body: entry.body });
    }
    let Some(through) = hand_over(service, &known, waiting).await? else { return Ok(()) };
    let acknowledged = Body::JournalAck(JournalAck { through });
    // Without a link it is told again by the next one's first entries.
    let _link_is_gone = service.links().send(sandbox, acknowledged).await;
    Ok(())
}

/// Hands entries over, and answers up to which number all are committed; `None` when there are none.
async fn hand_over(
    service: &Service,
    occupancy: &Occupancy,
    entries: Vec<JournalEntry>,
) -> Result<Option<u64>, Over> {
    if entries.is_empty() {
        return Ok(None);
    }
    let command_id = CommandId::mint(service.ids()).uuid();
    let accepted = retried(service, "appending a journal", || {
        reports::append(service, occupancy, command_id, entries.clone())
    })
    .await?;
    accepted.map(Some).map_err(Over::Refused)
}

fn ended_turn(entry: &Entry) -> Option<TurnId> {
    if let Ok(journal::Entry::TurnEnded { turn_id, .. }) = serde_json::from_slice(&entry.body) {
        Some(turn_id)
    } else {
        None
    }
}

async fn find(service: &Service, sandbox: SandboxId) -> Result<Option<Sandbox>, StorageError> {
    rows::find(&mut *service.database().connection().await?, sandbox).await
}

async fn give_up(service: &Arc<Service>, sandbox: SandboxId, refused: Refused) {
    let stop = Stop { reason: refused.code.clone() };
    let _link_is_gone = service.links().send(sandbox, Body::Stop(stop)).await;
    let service = service.clone();
    service.clone().tasks().spawn("end of a refused sandbox", async move {
        let is_over = matches!(
            refused.kind.parse(),
            Ok(FailureKind::NotFound | FailureKind::Conflict | FailureKind::Forbidden)
        );
        tracing::warn!(sandbox.id = %sandbox, refused.code, refused.message, "session-service wants no more of a sandbox");
        if is_over {
            service
                .until_done("stopping a superseded sandbox", || {
                    ending::stop(&service, sandbox, "superseded")
                })
                .await;
        } else {
            let message = format!("its journal was refused: {}", refused.message);
            ending::lose(&service, sandbox, Loss::new("journal_refused", message)).await;
        }
    });
}

/// What must succeed in the end; [`Over::Ending`] when the service ends first.
async fn retried<T, E, F>(
    service: &Service,
    what: &'static str,
    attempt: impl FnMut() -> F,
) -> Result<T, Over>
where
    F: Future<Output = Result<T, E>>,
    E: Error + 'static,
{
    service.until_done(what, attempt).await.ok_or(Over::Ending)
}
