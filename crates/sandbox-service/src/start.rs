//! Brings an admitted sandbox up, as far as its processes: from then on it reports through its link.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use platform_core::sandbox::{Sandbox, SandboxState, StartupPhase};
use platform_storage::{StorageError, sandbox as rows};

use crate::backend::{BackendError, StartOrder};
use crate::egress::{self, OpenEgressError};
use crate::ending;
use crate::manifests::ManifestError;
use crate::notes::{Loss, Notes};
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
    Egress(#[from] OpenEgressError),
    #[error("the sandbox's row cannot be changed")]
    Storage(#[from] StorageError),
    #[error("the sandbox's notes cannot be written")]
    Notes(#[from] serde_json::Error),
}

impl StartError {
    fn into_loss(self) -> Loss {
        let is_permanent = matches!(
            self,
            Self::Manifest(_) | Self::Backend(BackendError::HarnessMissing { .. }) | Self::Notes(_)
        );
        let mut message = format!("the sandbox could not be started: {self}");
        let mut source = self.source();
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        let loss = Loss::new("start_failed", message);
        if is_permanent { loss.for_good() } else { loss }
    }
}

/// Starts a sandbox that is in state `Starting`, in the background.
pub fn spawn(service: &Arc<Service>, sandbox: Sandbox) {
    service.take_in_hand("start of a sandbox", sandbox.id, |service| async move {
        if let Err(error) = bring_up(&service, &sandbox).await {
            ending::lose(&service, sandbox.id, error.into_loss()).await;
        }
    });
}

async fn bring_up(service: &Arc<Service>, sandbox: &Sandbox) -> Result<(), StartError> {
    let token = token::mint();
    let order = StartOrder {
        sandbox: sandbox.id,
        session: sandbox.session_id,
        resources: sandbox.spec.resources,
        harness: service.manifests().find(&sandbox.harness)?,
        token,
    };
    let egress_socket = service.backend().egress_socket(sandbox.id);
    let notes = Notes {
        replica: Some(service.replica().name().to_owned()),
        egress_socket: Some(egress_socket.clone()),
        limits: service.backend().limits(),
        ..Notes::of(sandbox)
    };
    let mut connection = service.database().connection().await?;
    rows::set_detail(&mut connection, sandbox.id, &notes.to_value()?).await?;
    rows::set_token_hash(&mut connection, sandbox.id, &token::hash(&order.token)).await?;
    drop(connection);
    report(service, sandbox, StartupPhase::Claimed).await;
    service.backend().prepare(&order)?;
    open_egress(service, sandbox, &egress_socket).await?;
    report(service, sandbox, StartupPhase::Booting).await;
    service.backend().start(&order).await?;
    watch::spawn(service, sandbox.id);
    Ok(())
}

/// A start waits for vault-proxy, or for the broker, as long as both may need to come back.
async fn open_egress(
    service: &Service,
    sandbox: &Sandbox,
    socket: &std::path::Path,
) -> Result<(), OpenEgressError> {
    let given_up = tokio::time::Instant::now() + EGRESS_WITHIN;
    loop {
        let opened = egress::open(service.broker(), service.ids(), sandbox.id, socket).await;
        let Err(error) = opened else { return Ok(()) };
        if tokio::time::Instant::now() >= given_up || service.shutdown().is_cancelled() {
            return Err(error);
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

/// Puts a sandbox whose processes are gone back into the queue, with these notes.
pub async fn queue_again(
    service: &Service,
    sandbox: &Sandbox,
    notes: &Notes,
) -> Result<(), QueueAgainError> {
    let mut connection = service.database().connection().await?;
    rows::set_detail(&mut connection, sandbox.id, &notes.to_value()?).await?;
    let from = [SandboxState::Starting];
    rows::transition(&mut connection, sandbox.id, &from, SandboxState::Queued, service.now())
        .await?;
    service.wake_admission();
    Ok(())
}

#[derive(Debug, thiserror::Error)]
pub enum QueueAgainError {
    #[error("the sandbox's row cannot be changed")]
    Storage(#[from] StorageError),
    #[error("the sandbox's notes cannot be written")]
    Notes(#[from] serde_json::Error),
}
