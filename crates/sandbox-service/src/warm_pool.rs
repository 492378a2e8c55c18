//! Warm pools: sandboxes started before a session asks, for environments that want some and are in use.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use platform_core::environment::SandboxSpec;
use platform_core::harness::HarnessName;
use platform_core::id::{EnvironmentId, SandboxId};
use platform_core::sandbox::{Backend, Sandbox, SandboxState};
use platform_storage::{StorageError, sandbox as rows};
use serde_json::json;

use crate::service::Service;
use crate::{ending, start};

/// The environments that had a session since this service started, with what they want and the harness used last.
#[derive(Debug, Default)]
pub struct WarmPools {
    pools: Mutex<BTreeMap<EnvironmentId, WarmPool>>,
}

#[derive(Debug, Clone, PartialEq)]
struct WarmPool {
    spec: SandboxSpec,
    harness: HarnessName,
}

impl WarmPools {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<EnvironmentId, WarmPool>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes that a session of the environment begins. Warm sandboxes that an older version of it made are stopped.
pub async fn note_use(
    service: &Arc<Service>,
    environment: EnvironmentId,
    spec: &SandboxSpec,
    harness: &HarnessName,
) -> Result<(), StorageError> {
    let pool = WarmPool { spec: spec.clone(), harness: harness.clone() };
    let before = service.warm_pools().lock().insert(environment, pool.clone());
    if before.as_ref() == Some(&pool) {
        return Ok(());
    }
    let mut connection = service.database().connection().await?;
    let living = rows::list_living(&mut connection, service.host()).await?;
    drop(connection);
    let is_outdated = |row: &&Sandbox| {
        row.environment_id == environment && row.session_id.is_none() && row.spec != *spec
    };
    for outdated in living.iter().filter(is_outdated) {
        stop(service, outdated.id).await;
    }
    Ok(())
}

/// Starts warm sandboxes that are wanted, at most `places`, and no more at once than the processors allow.
pub async fn refill(
    service: &Arc<Service>,
    places: usize,
    starting: usize,
) -> Result<(), StorageError> {
    let may_start = service.admission().parallel_starts.saturating_sub(starting);
    let mut left = places.min(may_start);
    let pools = service.warm_pools().lock().clone();
    for (environment, pool) in pools {
        if left == 0 {
            return Ok(());
        }
        let manifest = service.manifests().find(&pool.harness);
        if pool.spec.warm_pool_size == 0 || !manifest.is_ok_and(|found| found.can_start_warm) {
            continue;
        }
        let mut connection = service.database().connection().await?;
        let host = service.host();
        let unclaimed =
            rows::count_unclaimed(&mut connection, host, environment, &pool.harness).await?;
        let unclaimed = usize::try_from(unclaimed).unwrap_or(usize::MAX);
        let wanted = usize::try_from(pool.spec.warm_pool_size).unwrap_or(usize::MAX);
        for _ in 0..wanted.saturating_sub(unclaimed).min(left) {
            let sandbox = new_warm(service, environment, &pool);
            rows::insert_unclaimed(&mut connection, &sandbox).await?;
            start::spawn(service, sandbox);
            left -= 1;
        }
    }
    Ok(())
}

async fn stop(service: &Arc<Service>, sandbox: SandboxId) {
    if let Err(error) = ending::stop(service, sandbox, "superseded").await {
        tracing::warn!(error = &error as &dyn Error, "an outdated warm sandbox was not stopped");
    }
}

fn new_warm(service: &Service, environment: EnvironmentId, pool: &WarmPool) -> Sandbox {
    Sandbox {
        id: SandboxId::mint(service.ids()),
        team_id: None,
        session_id: None,
        agent_id: None,
        epoch: None,
        environment_id: environment,
        harness: pool.harness.clone(),
        backend: Backend::Local,
        host: service.host().to_owned(),
        state: SandboxState::Starting,
        spec: pool.spec.clone(),
        detail: json!({}),
        token_hash: None,
        exit_reason: None,
        created_at: service.now(),
        ready_at: None,
        gone_at: None,
    }
}
