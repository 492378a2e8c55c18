//! Sandboxes as pods of a cluster, by way of agent-sandbox: team → namespace, environment → template and pool, session → claim.

mod bring_up;
mod claim;
mod cluster;
mod end;
mod environment;
mod names;
mod namespace;
mod network_policy;
mod pod;
mod pods;
mod pool;
mod run;
mod sandbox;
mod template;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use platform_core::id::{SandboxId, SessionId, TeamId, TurnId};
use platform_core::sandbox::Backend;
use platform_runtime::lifecycle::Tasks;
use platform_runtime::settings::KubernetesSettings;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{BackendError, DiskSpace, Ended, Held, SandboxBackend, StartOrder, WayOut};
use crate::planted::Lookout;
use crate::snapshots::{Kept, SnapshotError};
use bring_up::Place;
pub use cluster::ClusterError;
use cluster::{Cluster, failed};
use environment::Version;
pub use pods::{KnownPod, PodError, Pods, Standing};
use run::Run;

/// The one place where all replicas queue: the cluster decides where pods run.
pub const HOST: &str = "kubernetes";

/// How long what was made in a namespace is taken to be there still.
const FRESH_FOR: Duration = Duration::from_mins(5);

/// The backend of one cluster.
pub struct KubernetesBackend {
    settings: KubernetesSettings,
    cluster: Arc<Cluster>,
    pods: Pods,
    tasks: Tasks,
    runs: Mutex<BTreeMap<SandboxId, Run>>,
    /// What was made, by name, and when.
    made: Mutex<BTreeMap<String, Instant>>,
}

impl KubernetesBackend {
    /// Connects to the cluster and looks at all that concerns sandboxes there.
    pub async fn connect(
        way: kube::Config,
        settings: KubernetesSettings,
        tasks: &Tasks,
        shutdown: &CancellationToken,
    ) -> Result<Self, ClusterError> {
        let (cluster, watches) = Cluster::connect(way).await?;
        let cluster = Arc::new(cluster);
        cluster.follow_all(watches, tasks, shutdown).await?;
        let pods = Pods::new(cluster.clone(), settings.namespace_prefix.clone());
        let (runs, made) = (Mutex::default(), Mutex::default());
        Ok(Self { settings, cluster, pods, tasks: tasks.clone(), runs, made })
    }

    /// Whether the cluster answers.
    pub async fn ping(&self) -> Result<(), ClusterError> {
        self.cluster.ping().await
    }

    async fn bring_up(&self, order: &StartOrder) -> Result<(), BackendError> {
        let (Some(team), Some(session)) = (order.team, order.session) else {
            let message = "a pod without a session is the cluster's to start".to_owned();
            return Err(BackendError::NotInTime(message));
        };
        let version = Version::of(&self.settings, order, self.image(order)?);
        let namespace = self.namespace(team).await?;
        let key = format!("{namespace}/{}/{}", version.name, order.warm_pool_size);
        if !self.was_made(&key) {
            let made = version.ensure(&self.cluster, &namespace).await;
            made.map_err(failed("making the environment's template and pool"))?;
            self.note_made(key);
        }
        let place = Place { cluster: &self.cluster, namespace: &namespace, session };
        let run = place.bring_up(order.sandbox, &version.name).await?;
        self.runs().insert(order.sandbox, run);
        Ok(())
    }

    async fn namespace(&self, team: TeamId) -> Result<String, BackendError> {
        let name = names::namespace(&self.settings.namespace_prefix, team);
        if !self.was_made(&name) {
            let made = namespace::ensure(&self.cluster.client(), &self.settings, team).await;
            made.map_err(failed("making the team's namespace"))?;
            self.note_made(name.clone());
        }
        Ok(name)
    }

    fn image<'a>(&'a self, order: &'a StartOrder) -> Result<&'a str, BackendError> {
        let name = order.harness.name.as_str();
        let image = order.image.as_ref().or_else(|| self.settings.harness_images.get(name));
        image.map(String::as_str).ok_or_else(|| BackendError::ImageMissing(name.to_owned()))
    }

    async fn end(&self, sandbox: SandboxId) -> Result<(), BackendError> {
        end::run(&self.cluster, sandbox).await?;
        // Its Sandbox may have been deleted, and the pod not yet.
        let known = self.runs().get(&sandbox).cloned();
        if let Some(Run { namespace, name, sandbox_uid, .. }) = known {
            end::pods_of(&self.cluster, &namespace, &name, &sandbox_uid).await?;
        }
        self.runs().remove(&sandbox);
        Ok(())
    }

    async fn wait_for_end(&self, sandbox: SandboxId) -> Ended {
        let Some(run) = self.runs().get(&sandbox).cloned() else {
            return Ended { reason: "exited", message: "the sandbox's pod is gone".to_owned() };
        };
        let mut changes = self.cluster.follow(&run.namespace, &run.name);
        loop {
            if let Some(ended) = run.end(self.cluster.pod(&run.namespace, &run.name).as_deref()) {
                return ended;
            }
            // The one who tells lives as long as the cluster does.
            let _told = changes.changed().await;
        }
    }

    /// The run of a sandbox as the cluster has it, if it goes on.
    fn find(&self, sandbox: SandboxId) -> Option<Run> {
        let known = self.runs().get(&sandbox).cloned();
        let run = known.or_else(|| {
            let all = self.cluster.sandboxes();
            let found = all.iter().find(|found| run::run_of(found) == Some(sandbox))?;
            Run::of(found)
        })?;
        let pod = self.cluster.pod(&run.namespace, &run.name);
        run.end(pod.as_deref()).is_none().then_some(run)
    }

    fn was_made(&self, key: &str) -> bool {
        locked(&self.made).get(key).is_some_and(|at| at.elapsed() < FRESH_FOR)
    }

    fn note_made(&self, key: String) {
        locked(&self.made).insert(key, Instant::now());
    }

    fn runs(&self) -> MutexGuard<'_, BTreeMap<SandboxId, Run>> {
        locked(&self.runs)
    }
}

impl SandboxBackend for KubernetesBackend {
    fn name(&self) -> Backend {
        Backend::Kubernetes
    }

    fn prepare(&self, order: &StartOrder) -> Result<(), BackendError> {
        self.image(order).map(drop)
    }

    /// What a pod trusts besides its image's own it is told over its link.
    fn trust(&self, _sandbox: SandboxId, _authority: &str) -> Result<(), BackendError> {
        Ok(())
    }

    fn start<'a>(&'a self, order: &'a StartOrder) -> BoxFuture<'a, Result<(), BackendError>> {
        Box::pin(self.bring_up(order))
    }

    fn stop(&self, sandbox: SandboxId) -> BoxFuture<'_, Result<(), BackendError>> {
        Box::pin(self.end(sandbox))
    }

    fn adopt(&self, sandbox: SandboxId) -> bool {
        let Some(run) = self.find(sandbox) else { return false };
        self.runs().insert(sandbox, run);
        true
    }

    fn kill(&self, sandbox: SandboxId) {
        let Some(run) = self.find(sandbox) else { return };
        let cluster = self.cluster.clone();
        self.tasks.spawn("kill of a pod", async move {
            let Some(pod) = cluster.pod(&run.namespace, &run.name) else { return };
            let pods = cluster.api::<Pod>(&run.namespace);
            if let Err(error) = end::delete_pod(&pods, &pod, Some(0)).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "a pod was not killed");
            }
        });
    }

    fn ended(&self, sandbox: SandboxId) -> BoxFuture<'_, Ended> {
        Box::pin(self.wait_for_end(sandbox))
    }

    fn is_running(&self, sandbox: SandboxId) -> bool {
        self.find(sandbox).is_some()
    }

    fn held(&self) -> Held {
        let prefix = &self.settings.namespace_prefix;
        let is_ours = |namespace: Option<String>| {
            namespace.is_some_and(|name| names::team_of(prefix, &name).is_some())
        };
        let sandboxes: BTreeSet<_> = self
            .cluster
            .sandboxes()
            .iter()
            .filter(|sandbox| is_ours(sandbox.namespace()))
            .filter_map(|sandbox| run::run_of(sandbox))
            .collect();
        let workspaces = self
            .cluster
            .claims()
            .iter()
            .filter(|claim| is_ours(claim.namespace()))
            .filter_map(|claim| Some(names::session_of(&claim.name_any())?.uuid()))
            .collect();
        Held { sandboxes, workspaces }
    }

    fn has_workspace(&self, session: SessionId) -> bool {
        let claim = self.cluster.find_claim(&names::claim(session));
        claim.is_some_and(|claim| claim.annotations().contains_key(names::SANDBOX_PIN))
    }

    /// A volume is bound to its `Sandbox`: no other pod gets it.
    fn can_graft(&self) -> bool {
        false
    }

    fn adopt_workspace(
        &self,
        _sandbox: SandboxId,
        _session: SessionId,
    ) -> BoxFuture<'_, Result<(), BackendError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn remove_workspace(&self, session: SessionId) -> BoxFuture<'_, Result<(), BackendError>> {
        Box::pin(end::workspace(&self.cluster, session))
    }

    fn keeps_snapshots(&self) -> bool {
        false
    }

    fn take_snapshot(
        &self,
        _session: SessionId,
        _turn: TurnId,
        _lookout: Arc<Lookout>,
    ) -> BoxFuture<'_, Result<Kept, SnapshotError>> {
        Box::pin(std::future::ready(Err(SnapshotError::Unsupported)))
    }

    fn snapshot_within(&self) -> Duration {
        Duration::ZERO
    }

    fn restore_snapshot(
        &self,
        _session: SessionId,
        _source: SessionId,
        _turn: TurnId,
    ) -> BoxFuture<'_, Result<(), BackendError>> {
        Box::pin(std::future::ready(Err(BackendError::NoSnapshots)))
    }

    fn way_out(&self, _sandbox: SandboxId) -> WayOut {
        WayOut::Ticket(self.settings.egress_address)
    }

    /// Upstream's pools hold pods that wait.
    fn keeps_warm_pools(&self) -> bool {
        false
    }

    fn pods(&self) -> Option<&Pods> {
        Some(&self.pods)
    }

    /// Volumes have a size of their own.
    fn used_disk(
        &self,
        _sandbox: SandboxId,
        _session: Option<SessionId>,
        _allowed: DiskSpace,
    ) -> DiskSpace {
        DiskSpace::default()
    }

    fn free_disk(&self) -> Option<DiskSpace> {
        None
    }

    fn limits(&self) -> Value {
        json!({
            "memory": "limit of the container",
            "cpu": "limit of the container",
            "disk": "size of the volume, limit of ephemeral storage",
            "processes": "not enforced: podPidsLimit is the kubelet's setting",
            "network": "NetworkPolicy, as far as the cluster's network plug-in enforces it",
            "system_calls": "seccomp RuntimeDefault",
        })
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
fn settings_for_tests() -> KubernetesSettings {
    KubernetesSettings {
        link_listen: "0.0.0.0:7070".parse().unwrap(),
        link_url: "ws://10.96.0.50:7070".to_owned(),
        egress_address: "10.96.0.51:3128".parse().unwrap(),
        link_peer: None,
        egress_peer: None,
        namespace_prefix: "lap-team-".to_owned(),
        agent_image: "registry.example/agent:1".to_owned(),
        harness_images: BTreeMap::new(),
        image_pull_policy: platform_runtime::settings::ImagePullPolicy::IfNotPresent,
        storage_class: None,
        workspace_gib: 10,
        runtime_class: None,
    }
}

#[cfg(test)]
fn order_for_tests() -> StartOrder {
    let id = uuid::Uuid::from_u128(7);
    let manifest = include_str!("../../../../harnesses/opencode/harness.toml");
    StartOrder {
        sandbox: SandboxId::from_uuid(id),
        team: Some(TeamId::from_uuid(id)),
        environment: platform_core::id::EnvironmentId::from_uuid(id),
        session: Some(SessionId::from_uuid(id)),
        image: None,
        resources: platform_core::environment::Resources::default(),
        warm_pool_size: 0,
        harness: toml::from_str(manifest).unwrap(),
        token: crate::token::mint(),
    }
}
