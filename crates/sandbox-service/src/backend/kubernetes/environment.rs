//! An environment in a team's namespace: one template and one pool for each version of it.

use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use platform_runtime::settings::KubernetesSettings;
use serde_json::{Value, json};

use super::cluster::{Cluster, ClusterError, answered};
use super::namespace::apply;
use super::pool::SandboxWarmPool;
use super::template::SandboxTemplate;
use super::{names, network_policy, pod};
use crate::backend::StartOrder;

const HARNESS_LABEL: &str = "lap.dev/harness";

/// One version of an environment with one harness, as objects.
pub struct Version {
    pub name: String,
    content: Value,
    labels: Value,
    warm_pool_size: u32,
    others: String,
}

impl Version {
    /// What this order asks for; `image` is that of its harness.
    pub fn of(settings: &KubernetesSettings, order: &StartOrder, image: &str) -> Self {
        let content = json!({
            "podTemplate": pod::template(settings, order, image),
            "volumeClaimTemplates": pod::volume_claims(settings),
            "networkPolicy": network_policy::of_template(settings),
        });
        let environment = order.environment.uuid().to_string();
        let harness = order.harness.name.as_str();
        Self {
            name: names::template(order.environment, &content),
            labels: json!({ names::ENVIRONMENT_LABEL: environment, HARNESS_LABEL: harness }),
            others: format!("{}={environment},{HARNESS_LABEL}={harness}", names::ENVIRONMENT_LABEL),
            warm_pool_size: order.warm_pool_size,
            content,
        }
    }

    /// Makes both objects, and lets pods of other versions go that nobody has claimed. Their templates stay as long as anybody's pod does,
    /// whose network policy they own.
    pub async fn ensure(&self, cluster: &Cluster, namespace: &str) -> Result<(), ClusterError> {
        let templates = cluster.api::<SandboxTemplate>(namespace);
        let template = self.object("SandboxTemplate", namespace, &self.content);
        apply(&templates, &self.name, &template).await?;
        let pools = cluster.api::<SandboxWarmPool>(namespace);
        let spec = json!({
            "replicas": self.warm_pool_size,
            "sandboxTemplateRef": { "name": self.name },
            "updateStrategy": { "type": "Recreate" },
        });
        apply(&pools, &self.name, &self.object("SandboxWarmPool", namespace, &spec)).await?;
        let all = answered(pools.list(&ListParams::default().labels(&self.others))).await?;
        for other in all.into_iter().filter(|pool| pool.name_any() != self.name) {
            if other.spec.replicas > 0 {
                let empty =
                    json!({ "metadata": { "uid": other.uid() }, "spec": { "replicas": 0 } });
                let patch = Patch::Merge(&empty);
                answered(pools.patch(&other.name_any(), &PatchParams::default(), &patch)).await?;
            }
        }
        Ok(())
    }

    fn object(&self, kind: &str, namespace: &str, spec: &Value) -> Value {
        json!({
            "apiVersion": "extensions.agents.x-k8s.io/v1beta1",
            "kind": kind,
            "metadata": { "name": self.name, "namespace": namespace, "labels": self.labels },
            "spec": spec,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{order_for_tests, settings_for_tests};
    use super::*;

    #[test]
    fn what_changes_a_pod_is_another_version_and_the_size_of_the_pool_is_not() {
        let settings = settings_for_tests();
        let first = Version::of(&settings, &order_for_tests(), "image:1");
        let mut larger = order_for_tests();
        larger.warm_pool_size = 7;
        assert_eq!(Version::of(&settings, &larger, "image:1").name, first.name);
        larger.resources.memory_mib = 4096;
        assert_ne!(Version::of(&settings, &larger, "image:1").name, first.name);
        assert_ne!(Version::of(&settings, &order_for_tests(), "image:2").name, first.name);
    }

    #[test]
    fn a_session_has_the_version_of_any_other_session() {
        let settings = settings_for_tests();
        let (first, mut second) = (order_for_tests(), order_for_tests());
        second.session = None;
        second.sandbox = platform_core::id::SandboxId::from_uuid(uuid::Uuid::from_u128(9));
        let name = |order| Version::of(&settings, order, "image").name;
        assert_eq!(name(&first), name(&second));
    }
}
