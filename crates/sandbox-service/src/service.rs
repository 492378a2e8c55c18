//! What every part of this service works with.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use platform_core::clock::{Clock, IdSource};
use platform_core::id::SandboxId;
use platform_messaging::{Broker, OwnQueue};
use platform_runtime::lifecycle::Tasks;
use platform_storage::Database;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::absences::Absences;
use crate::admission::AdmissionSettings;
use crate::backend::SandboxBackend;
use crate::figures::Figures;
use crate::link::Links;
use crate::link::replica::Replica;
use crate::manifests::Manifests;
use crate::models::Models;
use crate::planted::PlantedValues;
use crate::session_locks::SessionLocks;
use crate::tickets::Tickets;
use crate::warm_pool::WarmPools;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The parts that a service is made of.
pub struct Parts {
    pub database: Database,
    pub broker: Broker,
    pub backend: Arc<dyn SandboxBackend>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn IdSource>,
    pub host: String,
    pub replica: Replica,
    pub manifests: Manifests,
    pub admission: AdmissionSettings,
    /// How long something must have been left over before it is ended.
    pub leftover_grace: Duration,
    pub figures: Figures,
    pub tasks: Tasks,
    pub shutdown: CancellationToken,
}

/// One replica of sandbox-service.
pub struct Service {
    parts: Parts,
    link_queue: OwnQueue,
    links: Links,
    models: Models,
    planted: PlantedValues,
    warm_pools: WarmPools,
    session_locks: SessionLocks,
    tickets: Tickets,
    absences: Absences,
    admission_wake: Notify,
    watched: Mutex<BTreeSet<SandboxId>>,
    in_hand: Mutex<BTreeSet<SandboxId>>,
}

impl Service {
    pub fn new(parts: Parts) -> Arc<Self> {
        let link_queue = parts.broker.own_queue("sandbox.links");
        Arc::new(Self {
            link_queue,
            links: Links::default(),
            models: Models::default(),
            planted: PlantedValues::default(),
            warm_pools: WarmPools::default(),
            session_locks: SessionLocks::default(),
            tickets: Tickets::default(),
            absences: Absences::default(),
            admission_wake: Notify::new(),
            watched: Mutex::default(),
            in_hand: Mutex::default(),
            parts,
        })
    }

    pub fn database(&self) -> &Database {
        &self.parts.database
    }

    pub fn broker(&self) -> &Broker {
        &self.parts.broker
    }

    pub fn backend(&self) -> &dyn SandboxBackend {
        &*self.parts.backend
    }

    pub fn ids(&self) -> &dyn IdSource {
        &*self.parts.ids
    }

    pub fn now(&self) -> DateTime<Utc> {
        self.parts.clock.now()
    }

    pub fn host(&self) -> &str {
        &self.parts.host
    }

    pub fn replica(&self) -> &Replica {
        &self.parts.replica
    }

    pub fn manifests(&self) -> &Manifests {
        &self.parts.manifests
    }

    pub fn admission(&self) -> &AdmissionSettings {
        &self.parts.admission
    }

    pub fn leftover_grace(&self) -> Duration {
        self.parts.leftover_grace
    }

    pub fn figures(&self) -> &Figures {
        &self.parts.figures
    }

    pub fn tasks(&self) -> &Tasks {
        &self.parts.tasks
    }

    pub fn shutdown(&self) -> &CancellationToken {
        &self.parts.shutdown
    }

    /// The queue of this replica, bound to every sandbox whose link it holds.
    pub fn link_queue(&self) -> &OwnQueue {
        &self.link_queue
    }

    pub fn links(&self) -> &Links {
        &self.links
    }

    pub fn models(&self) -> &Models {
        &self.models
    }

    pub fn planted(&self) -> &PlantedValues {
        &self.planted
    }

    pub fn warm_pools(&self) -> &WarmPools {
        &self.warm_pools
    }

    pub fn session_locks(&self) -> &SessionLocks {
        &self.session_locks
    }

    pub fn absences(&self) -> &Absences {
        &self.absences
    }

    pub fn tickets(&self) -> &Tickets {
        &self.tickets
    }

    /// Has the queue of waiting sandboxes looked at.
    pub fn wake_admission(&self) {
        self.admission_wake.notify_one();
    }

    pub async fn admission_woken(&self) {
        self.admission_wake.notified().await;
    }

    /// `false` when the sandbox is watched already.
    pub fn begin_watch(&self, sandbox: SandboxId) -> bool {
        locked(&self.watched).insert(sandbox)
    }

    pub fn end_watch(&self, sandbox: SandboxId) {
        locked(&self.watched).remove(&sandbox);
    }

    /// Does something with a sandbox in the background that nobody here may do at the same time: start it, or take it over.
    /// Does nothing when somebody does already.
    pub fn take_in_hand<F, W>(self: &Arc<Self>, what: &'static str, sandbox: SandboxId, work: W)
    where
        W: FnOnce(Arc<Self>) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        if !locked(&self.in_hand).insert(sandbox) {
            return;
        }
        let service = self.clone();
        let work = work(self.clone());
        self.tasks().spawn(what, async move {
            work.await;
            locked(&service.in_hand).remove(&sandbox);
        });
    }

    /// Repeats what must succeed in the end, with growing pauses. `None`: the service ends first, and its successor
    /// finds in the database what is left to do.
    pub async fn until_done<T, E, F>(
        &self,
        what: &'static str,
        mut attempt: impl FnMut() -> F,
    ) -> Option<T>
    where
        F: Future<Output = Result<T, E>>,
        E: std::error::Error + 'static,
    {
        let mut pause = FIRST_PAUSE;
        loop {
            match attempt().await {
                Ok(value) => return Some(value),
                Err(error) => {
                    tracing::warn!(
                        what,
                        error = &error as &dyn std::error::Error,
                        "it failed and is tried again"
                    );
                }
            }
            tokio::select! {
                () = self.shutdown().cancelled() => return None,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

fn locked(set: &Mutex<BTreeSet<SandboxId>>) -> MutexGuard<'_, BTreeSet<SandboxId>> {
    set.lock().unwrap_or_else(PoisonError::into_inner)
}
