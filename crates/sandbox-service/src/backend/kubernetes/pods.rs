//! Who dials: from a pod's token to the pod, to its `Sandbox`, to the claim of a session. Anything missing is a refusal.

use std::sync::Arc;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, PostParams};
use kube::{Resource, ResourceExt};
use platform_core::id::{SandboxId, SessionId, TeamId};
use tokio::sync::watch;

use super::claim::SandboxClaim;
use super::cluster::{Cluster, ClusterError, answered, found};
use super::names;
use super::run::{Run, run_of};
use super::sandbox::Sandbox;

/// Nothing longer is a token.
const LONGEST_TOKEN: usize = 16 << 10;

/// A pod that has proved which one it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPod {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// For whom a pod is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// For nobody yet: no session has claimed it, or its run has not begun.
    Waiting,
    Run {
        sandbox: SandboxId,
        team: TeamId,
        session: SessionId,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum PodError {
    #[error("{0}")]
    Refused(&'static str),
    #[error("the cluster cannot be asked who it is")]
    Cluster(#[from] ClusterError),
}

/// Tells pods by their tokens.
pub struct Pods {
    cluster: Arc<Cluster>,
    namespace_prefix: String,
}

impl Pods {
    pub fn new(cluster: Arc<Cluster>, namespace_prefix: String) -> Self {
        Self { cluster, namespace_prefix }
    }

    /// Which pod shows this token. The API server may still know one whose pod is gone: [`Pods::standing`] looks at the pod itself.
    pub async fn who(&self, token: &str) -> Result<KnownPod, PodError> {
        if token.is_empty() || token.len() > LONGEST_TOKEN {
            return Err(PodError::Refused("it shows no token"));
        }
        let audience = || names::AUDIENCE.to_owned();
        let spec =
            TokenReviewSpec { token: Some(token.to_owned()), audiences: Some(vec![audience()]) };
        let review = TokenReview { spec, ..TokenReview::default() };
        let reviews: Api<TokenReview> = Api::all(self.cluster.client());
        let answer = answered(reviews.create(&PostParams::default(), &review)).await?;
        let status = answer.status.unwrap_or_default();
        let is_for_us = status.audiences.unwrap_or_default().contains(&audience());
        if status.authenticated != Some(true) || !is_for_us {
            return Err(PodError::Refused("its token is not one for the link"));
        }
        let user = status.user.unwrap_or_default();
        let namespace = self.namespace_of(user.username.as_deref().unwrap_or_default());
        let extra = user.extra.unwrap_or_default();
        let of_pod =
            |key: &str| extra.get(&format!("authentication.kubernetes.io/{key}"))?.first().cloned();
        let known = namespace.zip(of_pod("pod-name")).zip(of_pod("pod-uid"));
        let Some(((namespace, name), uid)) = known else {
            return Err(PodError::Refused("its token is not that of a sandbox's pod"));
        };
        Ok(KnownPod { namespace, name, uid })
    }

    /// For whom the pod is now.
    pub async fn standing(&self, known: &KnownPod) -> Result<Standing, PodError> {
        let pod = self.read::<Pod>(&known.namespace, &known.name, &known.uid).await?;
        let pod = pod.filter(|pod| pod.metadata.deletion_timestamp.is_none());
        let pod = pod.ok_or(PodError::Refused("there is no such pod any more"))?;
        let owner = controller(&pod, "Sandbox");
        let owner = owner.ok_or(PodError::Refused("its pod is not that of a Sandbox"))?;
        let sandbox = self.read::<Sandbox>(&known.namespace, &owner.name, &owner.uid).await?;
        let sandbox = sandbox.ok_or(PodError::Refused("its Sandbox is gone"))?;
        if controller(&sandbox, "SandboxWarmPool").is_some() {
            return Ok(Standing::Waiting);
        }
        let owner = controller(&sandbox, "SandboxClaim");
        let owner = owner.ok_or(PodError::Refused("nobody claims its Sandbox"))?;
        let claim = self.read::<SandboxClaim>(&known.namespace, &owner.name, &owner.uid).await?;
        let claim = claim.ok_or(PodError::Refused("the claim of its Sandbox is gone"))?;
        let session = names::session_of(&claim.name_any());
        let team = names::team_of(&self.namespace_prefix, &known.namespace);
        let Some((session, team)) = session.zip(team) else {
            return Err(PodError::Refused("its claim is not of this platform"));
        };
        let begun = Run::of(&sandbox).filter(|run| run.began.pod_uid == known.uid);
        Ok(match run_of(&sandbox).filter(|_| begun.is_some()) {
            Some(sandbox) => Standing::Run { sandbox, team, session },
            None => Standing::Waiting,
        })
    }

    /// Hears when the standing of a pod may have changed.
    pub fn follow(&self, pod: &KnownPod) -> watch::Receiver<()> {
        self.cluster.follow(&pod.namespace, &pod.name)
    }

    fn namespace_of(&self, user: &str) -> Option<String> {
        namespace_of(user, &self.namespace_prefix)
    }

    async fn read<K>(&self, namespace: &str, name: &str, uid: &str) -> Result<Option<K>, PodError>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        let object = found(self.cluster.api::<K>(namespace).get(name)).await?;
        Ok(object.filter(|object| object.uid().as_deref() == Some(uid)))
    }
}

/// The namespace of a sandbox's service account, if it is one of a team of this platform.
fn namespace_of(user: &str, prefix: &str) -> Option<String> {
    let mut words = user.strip_prefix("system:serviceaccount:")?.split(':');
    let (namespace, account) = (words.next()?, words.next()?);
    let is_ours = account == names::SERVICE_ACCOUNT && names::team_of(prefix, namespace).is_some();
    is_ours.then(|| namespace.to_owned())
}

fn controller<'a, K: Resource>(object: &'a K, kind: &str) -> Option<&'a OwnerReference> {
    object
        .owner_references()
        .iter()
        .find(|owner| owner.controller == Some(true) && owner.kind == kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_team_s_sandboxes_are_believed() {
        let ours = "lap-team-01900000000070008000123456789abc";
        let of = |user: &str| namespace_of(user, "lap-team-");
        assert_eq!(of(&format!("system:serviceaccount:{ours}:sandbox")).as_deref(), Some(ours));
        assert_eq!(of(&format!("system:serviceaccount:{ours}:default")), None);
        assert_eq!(of("system:serviceaccount:kube-system:sandbox"), None);
        assert_eq!(of("system:serviceaccount:lap-team-x:sandbox"), None);
        assert_eq!(of("sandbox"), None);
    }
}
