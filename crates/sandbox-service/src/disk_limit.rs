//! Holds sandboxes to their disk limit: measures them in turn, and ends the one that has more than its environment allows.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use platform_core::sandbox::{Sandbox, SandboxState};
use platform_storage::{StorageError, sandbox as rows};

use crate::ending;
use crate::notes::{Loss, Notes};
use crate::service::Service;

/// The pause between two rounds.
const PERIOD: Duration = Duration::from_secs(10);

/// Measures this replica's sandboxes until the service ends.
pub async fn keep(service: Arc<Service>) {
    loop {
        tokio::select! {
            () = service.shutdown().cancelled() => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
        if let Err(error) = measure_all(&service).await {
            tracing::warn!(error = &error as &dyn Error, "sandboxes cannot be measured");
        }
    }
}

async fn measure_all(service: &Arc<Service>) -> Result<(), StorageError> {
    let mut connection = service.database().connection().await?;
    let living = rows::list_living(&mut connection, service.host()).await?;
    drop(connection);
    let ours = Some(service.replica().name().to_owned());
    for sandbox in living {
        let is_running = matches!(sandbox.state, SandboxState::Claimed | SandboxState::Ready);
        if is_running && Notes::of(&sandbox).replica == ours {
            measure(service, sandbox).await;
        }
    }
    Ok(())
}

async fn measure(service: &Arc<Service>, sandbox: Sandbox) {
    let (id, session) = (sandbox.id, sandbox.session_id);
    let measuring = service.clone();
    let measured =
        tokio::task::spawn_blocking(move || measuring.backend().used_disk_bytes(id, session)).await;
    let used_mib = match measured {
        Ok(bytes) => bytes >> 20,
        Err(error) => {
            tracing::error!(%error, "a sandbox was not measured");
            return;
        }
    };
    let allowed = sandbox.spec.resources.disk_mib;
    if used_mib > allowed {
        let message = format!(
            "the session's files take {used_mib} MiB and its environment allows {allowed} MiB; raise disk_mib, or begin a new session"
        );
        ending::lose(service, id, Loss::new("disk_full", message).for_good()).await;
    }
}
