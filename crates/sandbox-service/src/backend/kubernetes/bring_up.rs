//! Brings a session's pod up: a claim, the `Sandbox` that it is bound to, and the pod in which the run begins.

use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams, PostParams};
use platform_core::id::{SandboxId, SessionId};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::claim::{PoolReference, SandboxClaim, SandboxClaimSpec};
use super::cluster::{Cluster, ClusterError, answered, failed, found};
use super::run::{Began, Run, hindrance, is_fit};
use super::sandbox::{Sandbox, tell};
use super::{end, names};
use crate::backend::BackendError;

/// How long a claim may take to be bound. A cold one waits for nothing but the controller.
const BOUND_WITHIN: Duration = Duration::from_mins(1);
/// How long a pod may take to exist; what it takes to come up is watched by others.
const POD_WITHIN: Duration = Duration::from_mins(1);
/// After this time an object is looked at even if nothing was heard of it.
const LOOK_PERIOD: Duration = Duration::from_secs(5);

/// A session's place in a cluster.
pub struct Place<'a> {
    pub cluster: &'a Cluster,
    pub namespace: &'a str,
    pub session: SessionId,
}

impl Place<'_> {
    /// Begins a run of `sandbox` and answers it. May be repeated.
    pub async fn bring_up(&self, sandbox: SandboxId, pool: &str) -> Result<Run, BackendError> {
        let claim = self.claim(pool).await?;
        let (claim, bound) = self.wait_until_bound(claim).await?;
        self.check_pins(&claim, &bound).await?;
        let bound = self.wake(sandbox, &bound).await?;
        let pod = self.wait_for_pod(&bound).await?;
        self.pin(&claim, &bound).await?;
        let run = Run {
            namespace: self.namespace.to_owned(),
            name: bound.name_any(),
            sandbox_uid: bound.uid().unwrap_or_default(),
            began: Began::of(&pod),
        };
        self.note(&run).await?;
        Ok(run)
    }

    /// The session's claim, made if there is none.
    async fn claim(&self, pool: &str) -> Result<SandboxClaim, BackendError> {
        let claims = self.cluster.api::<SandboxClaim>(self.namespace);
        let name = names::claim(self.session);
        let reading = || failed("reading the session's claim");
        if let Some(claim) = found(claims.get(&name)).await.map_err(reading())? {
            return self.usable(claim);
        }
        let spec = SandboxClaimSpec { warm_pool_ref: PoolReference { name: pool.to_owned() } };
        let mut claim = SandboxClaim::new(&name, spec);
        let session = self.session.uuid().to_string();
        claim.labels_mut().insert(names::SESSION_LABEL.to_owned(), session);
        match answered(claims.create(&PostParams::default(), &claim)).await {
            Ok(created) => Ok(created),
            // Of this call's own repetition, or of another replica's.
            Err(ClusterError::Api(kube::Error::Api(status))) if status.code == 409 => {
                let existing = answered(claims.get(&name)).await.map_err(reading())?;
                self.usable(existing)
            }
            Err(error) => Err(failed("claiming a sandbox")(error)),
        }
    }

    fn usable(&self, claim: SandboxClaim) -> Result<SandboxClaim, BackendError> {
        let session = self.session.uuid().to_string();
        if claim.labels().get(names::SESSION_LABEL) != Some(&session) {
            let message = format!("the claim {} is not of this platform", claim.name_any());
            return Err(BackendError::NotInTime(message));
        }
        if claim.metadata.deletion_timestamp.is_some() {
            return Err(BackendError::WorkspaceLost("its claim is being deleted".to_owned()));
        }
        Ok(claim)
    }

    /// Bound is not ready: only the name is known from now on.
    async fn wait_until_bound(
        &self,
        mut claim: SandboxClaim,
    ) -> Result<(SandboxClaim, Sandbox), BackendError> {
        let claims = self.cluster.api::<SandboxClaim>(self.namespace);
        let sandboxes = self.cluster.api::<Sandbox>(self.namespace);
        let name = claim.name_any();
        let mut changes = self.cluster.follow(self.namespace, &name);
        let given_up = Instant::now() + BOUND_WITHIN;
        loop {
            if let Some(refusal) = claim.refusal() {
                return Err(BackendError::NotInTime(refusal));
            }
            if let Some(bound) = claim.bound_to() {
                let sandbox = found(sandboxes.get(bound)).await;
                let sandbox = sandbox.map_err(failed("reading the session's sandbox"))?;
                let owner = claim.uid().unwrap_or_default();
                let is_ours = |sandbox: &Sandbox| {
                    sandbox.owner_references().iter().any(|reference| reference.uid == owner)
                };
                if let Some(sandbox) = sandbox.filter(is_ours) {
                    return Ok((claim, sandbox));
                }
                if let Some(pinned) = claim.annotations().get(names::SANDBOX_PIN) {
                    tracing::debug!(sandbox.uid = pinned, "a claim's sandbox is gone");
                }
            }
            if Instant::now() >= given_up {
                let conditions = claim.status.map(|status| status.conditions).unwrap_or_default();
                let said = tell(&conditions, "Ready");
                return Err(BackendError::NotInTime(said.unwrap_or_else(|| {
                    "nobody bound the session's claim; is the agent-sandbox controller running?"
                        .to_owned()
                })));
            }
            let _elapsed = timeout_at(Instant::now() + LOOK_PERIOD, changes.changed()).await;
            let again = found(claims.get(&name)).await;
            let again = again.map_err(failed("reading the session's claim"))?;
            claim = again.ok_or_else(|| {
                BackendError::WorkspaceLost("its claim was deleted by somebody else".to_owned())
            })?;
        }
    }

    /// A claim whose `Sandbox` was deleted is bound to another one, which has none of the session's files, and says nothing of it.
    async fn check_pins(&self, claim: &SandboxClaim, bound: &Sandbox) -> Result<(), BackendError> {
        let pinned = |name| claim.annotations().get(name);
        if let Some(pin) = pinned(names::SANDBOX_PIN)
            && bound.uid().as_ref() != Some(pin)
        {
            let message = "its Sandbox was deleted, and the volume with it".to_owned();
            return Err(BackendError::WorkspaceLost(message));
        }
        if let Some(pin) = pinned(names::VOLUME_PIN)
            && self.volume(&bound.name_any()).await?.as_ref() != Some(pin)
        {
            let message = "its volume was deleted or replaced".to_owned();
            return Err(BackendError::WorkspaceLost(message));
        }
        Ok(())
    }

    /// Marks whose run it is, and lets the controller make a pod if there is none.
    async fn wake(&self, sandbox: SandboxId, bound: &Sandbox) -> Result<Sandbox, BackendError> {
        let patch = json!({
            "metadata": {
                "uid": bound.uid(),
                "labels": { names::RUN_LABEL: names::run(sandbox) },
                "annotations": { names::RUN_ANNOTATION: null },
            },
            "spec": { "operatingMode": "Running" },
        });
        let woken = found(patched::<Sandbox>(self, &bound.name_any(), &patch)).await;
        let woken = woken.map_err(failed("waking the session's sandbox"))?;
        woken
            .ok_or_else(|| BackendError::NotInTime("its Sandbox was replaced meanwhile".to_owned()))
    }

    async fn wait_for_pod(&self, bound: &Sandbox) -> Result<Pod, BackendError> {
        let pods = self.cluster.api::<Pod>(self.namespace);
        let (name, uid) = (bound.name_any(), bound.uid().unwrap_or_default());
        let mut changes = self.cluster.follow(self.namespace, &name);
        let given_up = Instant::now() + POD_WITHIN;
        loop {
            let seen = self.cluster.pod(self.namespace, &name);
            if let Some(seen) = &seen {
                // What was seen last may be the pod before.
                let real = found(pods.get(&name)).await.map_err(failed("reading a pod"))?;
                match real {
                    Some(real) if real.uid() == seen.uid() && is_fit(&real, &uid) => {
                        return Ok(real);
                    }
                    // Upstream replaces no pod that has failed.
                    Some(real) if end::is_over(&real) => {
                        end::delete_pod(&pods, &real, None).await?;
                    }
                    Some(_) | None => {}
                }
            }
            if Instant::now() >= given_up {
                let hindered = seen.as_deref().and_then(hindrance);
                let sandbox = self.cluster.sandbox(self.namespace, &name);
                let conditions = sandbox.and_then(|sandbox| sandbox.status.clone());
                let said = || tell(&conditions?.conditions, "Ready");
                let message = hindered.or_else(said);
                return Err(BackendError::NotInTime(
                    message.unwrap_or_else(|| "no pod was made for it".to_owned()),
                ));
            }
            let _elapsed = timeout_at(Instant::now() + LOOK_PERIOD, changes.changed()).await;
        }
    }

    /// Keeps with the claim what it was bound to. The volume is there as soon as a pod is.
    async fn pin(&self, claim: &SandboxClaim, bound: &Sandbox) -> Result<(), BackendError> {
        if claim.annotations().contains_key(names::VOLUME_PIN) {
            return Ok(());
        }
        let volume = self.volume(&bound.name_any()).await?;
        let patch = json!({
            "metadata": {
                "uid": claim.uid(),
                "annotations": { names::SANDBOX_PIN: bound.uid(), names::VOLUME_PIN: volume },
            },
        });
        let pinned = found(patched::<SandboxClaim>(self, &claim.name_any(), &patch)).await;
        pinned.map_err(failed("noting what the session's claim is bound to"))?;
        Ok(())
    }

    async fn note(&self, run: &Run) -> Result<(), BackendError> {
        let began = serde_json::to_string(&run.began)
            .map_err(|error| failed("noting a run")(error.into()))?;
        let patch = json!({
            "metadata": {
                "uid": run.sandbox_uid,
                "annotations": { names::RUN_ANNOTATION: began },
            },
        });
        let noted = found(patched::<Sandbox>(self, &run.name, &patch)).await;
        let noted = noted.map_err(failed("noting a run"))?;
        match noted {
            Some(_) => Ok(()),
            None => Err(BackendError::NotInTime("its Sandbox was replaced meanwhile".to_owned())),
        }
    }

    async fn volume(&self, sandbox: &str) -> Result<Option<String>, BackendError> {
        let volumes = self.cluster.api::<PersistentVolumeClaim>(self.namespace);
        let volume = found(volumes.get(&names::volume(sandbox))).await;
        Ok(volume.map_err(failed("reading the session's volume"))?.and_then(|volume| volume.uid()))
    }
}

/// Changes the named fields alone. A patch that bears another uid than the object changes nothing.
async fn patched<K>(place: &Place<'_>, name: &str, patch: &Value) -> Result<K, kube::Error>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let api = place.cluster.api::<K>(place.namespace);
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
}
