//! Ends a run: no pod of the `Sandbox` is left, and its volume stays. Removes a session's files with its claim.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{
    Api, DeleteParams, ListParams, Patch, PatchParams, Preconditions, PropagationPolicy,
};
use platform_core::id::{SandboxId, SessionId};
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::claim::SandboxClaim;
use super::cluster::{Cluster, answered, failed, found};
use super::names;
use super::sandbox::Sandbox;
use crate::backend::BackendError;

/// The grace of a pod, and what its node may need beyond.
const GONE_WITHIN: Duration = Duration::from_mins(1);
const LOOK_PERIOD: Duration = Duration::from_secs(2);

/// Whether the pod has ended for good. Its object remains until somebody deletes it.
pub fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Failed" | "Succeeded"))
}

/// Ends the run of our sandbox, wherever the cluster has it. Answers when no pod of it is left.
pub async fn run(cluster: &Cluster, sandbox: SandboxId) -> Result<(), BackendError> {
    let all: Api<Sandbox> = Api::all(cluster.client());
    let marked = format!("{}={}", names::RUN_LABEL, names::run(sandbox));
    let list = answered(all.list(&ListParams::default().labels(&marked))).await;
    for found in list.map_err(failed("looking for a run"))? {
        suspend(cluster, &found).await?;
        let namespace = found.namespace().unwrap_or_default();
        pods_of(cluster, &namespace, &found.name_any(), &found.uid().unwrap_or_default()).await?;
        unmark(cluster, &found).await?;
    }
    Ok(())
}

/// Ends the pod of a `Sandbox`, and waits until it is gone.
pub async fn pods_of(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    sandbox_uid: &str,
) -> Result<(), BackendError> {
    let pods = cluster.api::<Pod>(namespace);
    let mut changes = cluster.follow(namespace, name);
    let given_up = Instant::now() + GONE_WITHIN;
    loop {
        let pod = found(pods.get(name)).await.map_err(failed("reading a pod"))?;
        let mine = pod.filter(|pod| {
            pod.owner_references().iter().any(|reference| reference.uid == sandbox_uid)
        });
        let Some(pod) = mine else { return Ok(()) };
        if pod.metadata.deletion_timestamp.is_none() {
            delete_pod(&pods, &pod, None).await?;
        }
        if Instant::now() >= given_up {
            return Err(BackendError::StillAlive);
        }
        let _elapsed = timeout_at(Instant::now() + LOOK_PERIOD, changes.changed()).await;
    }
}

/// Deletes this pod and no other of its name.
pub async fn delete_pod(
    pods: &Api<Pod>,
    pod: &Pod,
    grace_seconds: Option<u32>,
) -> Result<(), BackendError> {
    let parameters = DeleteParams {
        grace_period_seconds: grace_seconds,
        preconditions: Some(Preconditions { uid: pod.uid(), resource_version: None }),
        ..DeleteParams::default()
    };
    let deleted = found(pods.delete(&pod.name_any(), &parameters)).await;
    deleted.map_err(failed("deleting a pod"))?;
    Ok(())
}

/// Removes the session's claim, and with it its `Sandbox` and its volume.
pub async fn workspace(cluster: &Cluster, session: SessionId) -> Result<(), BackendError> {
    let all: Api<SandboxClaim> = Api::all(cluster.client());
    let marked = format!("{}={}", names::SESSION_LABEL, session.uuid());
    let list = answered(all.list(&ListParams::default().labels(&marked))).await;
    for claim in list.map_err(failed("looking for a session's claim"))? {
        let namespace = claim.namespace().unwrap_or_default();
        let claims = cluster.api::<SandboxClaim>(&namespace);
        remove(cluster, &claims, &namespace, &claim).await?;
    }
    Ok(())
}

/// In the foreground: the claim is there until all that it owns is gone.
async fn remove(
    cluster: &Cluster,
    claims: &Api<SandboxClaim>,
    namespace: &str,
    claim: &SandboxClaim,
) -> Result<(), BackendError> {
    let name = claim.name_any();
    let mut changes = cluster.follow(namespace, &name);
    let parameters = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Foreground),
        preconditions: Some(Preconditions { uid: claim.uid(), resource_version: None }),
        ..DeleteParams::default()
    };
    let deleted = found(claims.delete(&name, &parameters)).await;
    deleted.map_err(failed("deleting a session's claim"))?;
    let given_up = Instant::now() + GONE_WITHIN;
    loop {
        let left = found(claims.get(&name)).await.map_err(failed("reading a session's claim"))?;
        if left.is_none_or(|left| left.uid() != claim.uid()) {
            return Ok(());
        }
        if Instant::now() >= given_up {
            return Err(BackendError::StillAlive);
        }
        let _elapsed = timeout_at(Instant::now() + LOOK_PERIOD, changes.changed()).await;
    }
}

/// From now on the controller makes no pod for it.
async fn suspend(cluster: &Cluster, sandbox: &Sandbox) -> Result<(), BackendError> {
    let patch = json!({
        "metadata": { "uid": sandbox.uid() },
        "spec": { "operatingMode": "Suspended" },
    });
    merge(cluster, sandbox, &patch, "suspending a sandbox").await
}

async fn unmark(cluster: &Cluster, sandbox: &Sandbox) -> Result<(), BackendError> {
    let patch = json!({
        "metadata": {
            "uid": sandbox.uid(),
            "labels": { names::RUN_LABEL: null },
            "annotations": { names::RUN_ANNOTATION: null },
        },
    });
    merge(cluster, sandbox, &patch, "noting the end of a run").await
}

/// A `Sandbox` that is not there any more needs no change.
async fn merge(
    cluster: &Cluster,
    sandbox: &Sandbox,
    patch: &serde_json::Value,
    what: &'static str,
) -> Result<(), BackendError> {
    let sandboxes = cluster.api::<Sandbox>(&sandbox.namespace().unwrap_or_default());
    let name = sandbox.name_any();
    let (parameters, patch) = (PatchParams::default(), Patch::Merge(patch));
    found(sandboxes.patch(&name, &parameters, &patch)).await.map(drop).map_err(failed(what))
}
