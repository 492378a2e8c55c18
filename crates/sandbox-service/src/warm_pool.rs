//! Warm pools: sandboxes started before a session asks, for environments that want some and are in use.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use platform_core::environment::SandboxSpec;
use platform_core::harness::HarnessName;
use platform_core::id::{EnvironmentId, SandboxId};
use platform_core::sandbox::{Sandbox, SandboxState};
use platform_storage::sandbox::{self as rows, WarmPool};
use platform_storage::{Connection, StorageError};
use tokio::time::Instant;

use crate::ending;
use crate::notes::{Notes, NotesError};
use crate::service::Service;

/// How often the environments are looked at: one that has changed, was archived, or is not used any more.
const PERIOD: Duration = Duration::from_mins(1);
/// How long after its last session an environment's pool is kept filled, and how old a warm sandbox may get.
const KEPT_FOR: chrono::TimeDelta = chrono::TimeDelta::hours(24);
/// Pause after a warm sandbox that failed, doubled with each further one in a row.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_mins(10);

/// The pools that are to be kept filled. What is remembered here is only what the database says, and a little fresher.
#[derive(Debug, Default)]
pub struct WarmPools {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    wanted: BTreeMap<EnvironmentId, WarmPool>,
    /// When a session last said that it begins, of those not seen in the database since.
    used: BTreeMap<EnvironmentId, Instant>,
    /// Pools whose last sandbox failed: how long they pause, and since when.
    failing: BTreeMap<EnvironmentId, (Instant, Duration)>,
}

impl WarmPools {
    /// A warm sandbox of the environment did not come up, or ended by itself.
    pub fn note_failure(&self, environment: EnvironmentId) {
        let mut state = self.lock();
        let pause = state.failing.get(&environment).map_or(FIRST_PAUSE, |(_, last)| *last * 2);
        state.failing.insert(environment, (Instant::now(), pause.min(LONGEST_PAUSE)));
    }

    pub fn note_success(&self, environment: EnvironmentId) {
        self.lock().failing.remove(&environment);
    }

    /// Takes over what the database says. Sessions that began while it was asked may not be in its answer.
    fn replace(&self, stored: Vec<WarmPool>, asked: Instant) -> BTreeMap<EnvironmentId, WarmPool> {
        let mut state = self.lock();
        let State { wanted, used, .. } = &mut *state;
        used.retain(|_, at| *at > asked);
        wanted.retain(|environment, _| used.contains_key(environment));
        for pool in stored {
            wanted.entry(pool.environment).or_insert(pool);
        }
        wanted.clone()
    }

    /// Answers what was wanted before.
    fn note(&self, pool: &WarmPool) -> Option<WarmPool> {
        let mut state = self.lock();
        state.used.insert(pool.environment, Instant::now());
        if pool.spec.warm_pool_size == 0 {
            state.wanted.remove(&pool.environment)
        } else {
            state.wanted.insert(pool.environment, pool.clone())
        }
    }

    /// The pools that may be filled now.
    fn fillable(&self) -> Vec<WarmPool> {
        let state = self.lock();
        let pauses = |pool: &WarmPool| {
            state.failing.get(&pool.environment).is_some_and(|(at, pause)| at.elapsed() < *pause)
        };
        state.wanted.values().filter(|pool| !pauses(pool)).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps in mind which pools are wanted until the service ends.
pub async fn keep(service: Arc<Service>) {
    if !service.backend().keeps_warm_pools() {
        return;
    }
    loop {
        if let Err(error) = look(&service).await {
            tracing::warn!(error = &error as &dyn Error, "environments cannot be looked at");
        }
        tokio::select! {
            () = service.shutdown().cancelled() => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

/// Learns from the database which pools are wanted, and stops what is in none of them.
pub async fn look(service: &Arc<Service>) -> Result<(), StorageError> {
    let begun = Instant::now();
    let oldest = service.now() - KEPT_FOR;
    let mut connection = service.database().connection().await?;
    let stored = rows::list_warm_pools(&mut connection, oldest).await?;
    let unclaimed = rows::list_unclaimed(&mut connection, service.host()).await?;
    drop(connection);
    let wanted = service.warm_pools().replace(stored, begun);
    let is_wanted = |row: &Sandbox| {
        let pool = wanted.get(&row.environment_id);
        pool.is_some_and(|pool| pool.spec == row.spec && pool.harness == row.harness)
            && row.created_at > oldest
    };
    let outdated: Vec<_> =
        unclaimed.iter().filter(|row| !is_wanted(row)).map(|row| row.id).collect();
    for sandbox in outdated {
        stop(service, sandbox).await;
    }
    if !wanted.is_empty() {
        service.wake_admission();
    }
    Ok(())
}

/// Notes that a session of the environment begins. Warm sandboxes that an older version of it made are stopped.
pub async fn note_use(
    service: &Arc<Service>,
    environment: EnvironmentId,
    spec: &SandboxSpec,
    harness: &HarnessName,
) -> Result<(), StorageError> {
    if !service.backend().keeps_warm_pools() {
        return Ok(());
    }
    let pool = WarmPool { environment, spec: spec.clone(), harness: harness.clone() };
    let before = service.warm_pools().note(&pool);
    if before.as_ref() == Some(&pool) {
        return Ok(());
    }
    let mut connection = service.database().connection().await?;
    let unclaimed = rows::list_unclaimed(&mut connection, service.host()).await?;
    drop(connection);
    let is_outdated = |row: &&Sandbox| row.environment_id == environment && row.spec != *spec;
    for outdated in unclaimed.iter().filter(is_outdated) {
        stop(service, outdated.id).await;
    }
    Ok(())
}

/// Stores warm sandboxes that are wanted and are to be started: at most `places`, and no more at once than the processors allow.
pub async fn refill(
    service: &Service,
    connection: &mut Connection,
    places: usize,
    busy: usize,
) -> Result<Vec<Sandbox>, NotesError> {
    let may_start = service.admission().parallel_starts.saturating_sub(busy);
    let mut left = places.min(may_start);
    let mut stored = Vec::new();
    for pool in service.warm_pools().fillable() {
        if left == 0 {
            break;
        }
        let manifest = service.manifests().find(&pool.harness);
        if !manifest.is_ok_and(|found| found.can_start_warm) {
            continue;
        }
        let (host, environment) = (service.host(), pool.environment);
        let unclaimed = rows::count_unclaimed(connection, host, environment, &pool.harness).await?;
        let unclaimed = usize::try_from(unclaimed).unwrap_or(usize::MAX);
        let wanted = usize::try_from(pool.spec.warm_pool_size).unwrap_or(usize::MAX);
        for _ in 0..wanted.saturating_sub(unclaimed).min(left) {
            let sandbox = new_warm(service, &pool)?;
            rows::insert_unclaimed(connection, &sandbox).await?;
            stored.push(sandbox);
            left -= 1;
        }
    }
    Ok(stored)
}

async fn stop(service: &Arc<Service>, sandbox: SandboxId) {
    if let Err(error) = ending::stop_unclaimed(service, sandbox, "superseded").await {
        tracing::warn!(error = &error as &dyn Error, "an outdated warm sandbox was not stopped");
    }
}

fn new_warm(service: &Service, pool: &WarmPool) -> Result<Sandbox, serde_json::Error> {
    let replica = Some(service.replica().name().to_owned());
    Ok(Sandbox {
        id: SandboxId::mint(service.ids()),
        team_id: None,
        session_id: None,
        agent_id: None,
        epoch: None,
        environment_id: pool.environment,
        harness: pool.harness.clone(),
        backend: service.backend().name(),
        host: service.host().to_owned(),
        state: SandboxState::Starting,
        spec: pool.spec.clone(),
        detail: Notes { replica, ..Notes::default() }.to_value()?,
        token_hash: None,
        exit_reason: None,
        created_at: service.now(),
        ready_at: None,
        gone_at: None,
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pool_whose_sandboxes_fail_is_filled_more_and_more_slowly() {
        let environment = EnvironmentId::from_uuid(Uuid::from_u128(1));
        let harness = HarnessName::parse("opencode").unwrap();
        let pools = WarmPools::default();
        let pool = WarmPool { environment, spec: SandboxSpec::default(), harness };
        pools.lock().wanted.insert(environment, pool.clone());
        assert_eq!(pools.fillable(), std::slice::from_ref(&pool));
        for pause in [10, 20, 40] {
            pools.note_failure(environment);
            tokio::time::advance(Duration::from_secs(pause - 1)).await;
            assert_eq!(pools.fillable(), []);
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(pools.fillable(), std::slice::from_ref(&pool));
        }
        pools.note_failure(environment);
        pools.note_success(environment);
        assert_eq!(pools.fillable(), [pool]);
    }
}
