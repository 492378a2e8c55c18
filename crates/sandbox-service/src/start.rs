//! Brings an admitted sandbox up, as far as its processes: from then on it reports through its link.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use platform_core::id::SandboxId;
use platform_core::sandbox::{Sandbox, SandboxState, StartupPhase};
use platform_storage::{StorageError, sandbox as rows};

use crate::backend::{BackendError, StartOrder, WayOut};
use crate::egress::{self, EgressError};
use crate::ending;
use crate::manifests::ManifestError;
use crate::notes::{self, Loss, Notes, NotesError};
use crate::reports::{self, Occupancy, SpawnMode};
use crate::service::Service;
use crate::{token, watch};

/// How long vault-proxy may be away before a start is given up.
const EGRESS_WITHIN: Duration = Duration::from_mins(2);
const EGRESS_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error("the sandbox has no way out")]
    Egress(#[from] EgressError),
    #[error("the sandbox's row cannot be changed")]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Notes(#[from] NotesError),
    /// It is nobody's fault: a successor begins the start again.
    #[error("this replica ends")]
    Ending,
}

impl StartError {
    fn into_loss(self) -> Loss {
        let is_permanent = matches!(
            self,
            Self::Manifest(_)
                | Self::Backend(
                    BackendError::HarnessMissing { .. } | BackendError::ImageMissing(_)
                )
                | Self::Notes(NotesError::Notes(_))
        );
        let mut message = format!("the sandbox could not be started: {self}");
        let mut source = self.source();
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        match self {
            Self::Backend(BackendError::SnapshotMissing { .. } | BackendError::NoSnapshots) => {
                return Loss::new("snapshot_missing", message).for_good();
            }
            Self::Backend(BackendError::WorkspaceLost(_)) => {
                return Loss::new("workspace_lost", message).for_good();
            }
            Self::Manifest(_)
            | Self::Backend(_)
            | Self::Egress(_)
            | Self::Storage(_)
            | Self::Notes(_)
            | Self::Ending => {}
        }
        let loss = Loss::new("start_failed", message);
        if is_permanent { loss.for_good() } else { loss }
    }
}

/// Starts a sandbox that is in state `Starting`, in the background.
pub fn spawn(service: &Arc<Service>, sandbox: Sandbox) {
    service.take_in_hand("start of a sandbox", sandbox.id, |service| async move {
        match bring_up(&service, &sandbox).await {
            Ok(()) | Err(StartError::Ending) => {}
            Err(error) => ending::lose(&service, sandbox.id, error.into_loss()).await,
        }
    });
}

async fn bring_up(service: &Arc<Service>, sandbox: &Sandbox) -> Result<(), StartError> {
    let token = token::mint();
    let order = StartOrder {
        sandbox: sandbox.id,
        team: sandbox.team_id,
        environment: sandbox.environment_id,
        session: sandbox.session_id,
        image: sandbox.spec.image.clone(),
        warm_pool_size: sandbox.spec.warm_pool_size,
        resources: sandbox.spec.resources,
        harness: service.manifests().find(&sandbox.harness)?,
        token,
    };
    let egress_socket = match service.backend().way_out(sandbox.id) {
        WayOut::Socket(path) => Some(path),
        WayOut::Ticket(_) => None,
    };
    let noted = notes::change(service.database(), sandbox.id, |row, notes| {
        notes.egress_socket.clone_from(&egress_socket);
        notes.limits = service.backend().limits();
        row.state == SandboxState::Starting
    });
    if noted.await?.is_none() {
        return Ok(());
    }
    let mut connection = service.database().connection().await?;
    rows::set_token_hash(&mut connection, sandbox.id, &token::hash(&order.token)).await?;
    drop(connection);
    report(service, sandbox, StartupPhase::Claimed).await;
    restore_files(service, sandbox).await?;
    service.backend().prepare(&order)?;
    let authority = open_egress(service, sandbox, egress_socket.as_deref()).await?;
    service.backend().trust(sandbox.id, &authority)?;
    let noted = notes::change(service.database(), sandbox.id, |_, notes| {
        // Whoever takes its link tells it.
        notes.egress_authority = authority;
        true
    });
    noted.await?;
    report(service, sandbox, StartupPhase::Booting).await;
    service.backend().start(&order).await?;
    watch::spawn(service, sandbox.id);
    end_if_stopped(service, sandbox.id).await
}

/// Whoever stopped the sandbox meanwhile may have looked for its processes before there were any.
async fn end_if_stopped(service: &Service, sandbox: SandboxId) -> Result<(), StartError> {
    let mut connection = service.database().connection().await?;
    let row = rows::find(&mut connection, sandbox).await?;
    drop(connection);
    let is_over =
        row.is_none_or(|row| matches!(row.state, SandboxState::Stopping | SandboxState::Gone));
    if is_over {
        service.backend().stop(sandbox).await?;
    }
    Ok(())
}

/// A session that goes on from an earlier point of another one begins with its files.
async fn restore_files(service: &Service, sandbox: &Sandbox) -> Result<(), BackendError> {
    let Some(spec) = Notes::of(sandbox).session_spec else { return Ok(()) };
    let Some((source, turn)) =
        spec.forked_from.and_then(|from| Some((from.session_id, from.turn_id?)))
    else {
        return Ok(());
    };
    let backend = service.backend();
    if backend.has_workspace(spec.session_id) {
        return Ok(());
    }
    backend.restore_snapshot(spec.session_id, source, turn).await
}

/// A start waits for vault-proxy, or for the broker, as long as both may need to come back.
async fn open_egress(
    service: &Service,
    sandbox: &Sandbox,
    socket: Option<&Path>,
) -> Result<String, StartError> {
    let given_up = tokio::time::Instant::now() + EGRESS_WITHIN;
    loop {
        let opened = egress::open(service.broker(), service.ids(), sandbox.id, socket).await;
        let error = match opened {
            Ok(authority) => return Ok(authority),
            Err(error) => error,
        };
        if service.shutdown().is_cancelled() {
            return Err(StartError::Ending);
        }
        if tokio::time::Instant::now() >= given_up {
            return Err(error.into());
        }
        tracing::warn!(sandbox.id = %sandbox.id, error = &error as &dyn Error, "waiting for a way out");
        tokio::time::sleep(EGRESS_PAUSE).await;
    }
}

/// A report that is lost costs a line in the session's start-up, so nobody waits for it.
async fn report(service: &Service, sandbox: &Sandbox, phase: StartupPhase) {
    let Some(occupancy) = Occupancy::of(sandbox) else { return };
    let reported = reports::startup(service, &occupancy, phase, SpawnMode::Cold, "").await;
    if let Err(error) = reported {
        tracing::debug!(error = &error as &dyn Error, "a phase was not reported");
    }
}

/// Puts a sandbox whose processes are gone back into the queue. `is_failed`: its start came to nothing in this way.
pub async fn queue_again(
    service: &Service,
    sandbox: &Sandbox,
    is_failed: bool,
) -> Result<(), NotesError> {
    let now = service.now();
    let queued = service.database().transaction(async |connection| {
        let (from, to) = ([SandboxState::Starting], SandboxState::Queued);
        let Some(row) = rows::transition(connection, sandbox.id, &from, to, now).await? else {
            return Ok(());
        };
        let notes = Notes::of(&row);
        let failed_starts = notes.failed_starts + u32::from(is_failed);
        let notes = Notes { replica: None, failed_starts, ..notes };
        Ok::<_, NotesError>(rows::set_detail(connection, row.id, &notes.to_value()?).await?)
    });
    queued.await?;
    service.wake_admission();
    Ok(())
}
