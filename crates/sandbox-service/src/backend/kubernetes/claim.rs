//! `SandboxClaim` of extensions.agents.x-k8s.io: that a session has a `Sandbox`.

use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::sandbox::Condition;

#[derive(CustomResource, Clone, Debug, Default, Serialize, Deserialize)]
#[kube(
    group = "extensions.agents.x-k8s.io",
    version = "v1beta1",
    kind = "SandboxClaim",
    plural = "sandboxclaims",
    namespaced,
    schema = "disabled",
    status = "SandboxClaimStatus",
    derive = "Default"
)]
#[serde(rename_all = "camelCase")]
pub struct SandboxClaimSpec {
    pub warm_pool_ref: PoolReference,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolReference {
    pub name: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SandboxClaimStatus {
    pub conditions: Vec<Condition>,
    /// Which `Sandbox` it was given. Bound is not ready.
    pub sandbox: BoundSandbox,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BoundSandbox {
    pub name: String,
}

/// Reasons that no waiting cures.
const FINAL: [&str; 4] =
    ["InvalidMetadata", "EnvVarsInjectionRejected", "VolumeClaimTemplatesError", "ClaimExpired"];

impl SandboxClaim {
    /// The name of the `Sandbox` that it is bound to.
    pub fn bound_to(&self) -> Option<&str> {
        let name = self.status.as_ref()?.sandbox.name.as_str();
        (!name.is_empty()).then_some(name)
    }

    /// Why it will never be bound.
    pub fn refusal(&self) -> Option<String> {
        let conditions = &self.status.as_ref()?.conditions;
        let refused =
            conditions.iter().find(|condition| FINAL.contains(&condition.reason.as_str()));
        refused.map(|condition| format!("{}: {}", condition.reason, condition.message))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claim(status: &serde_json::Value) -> SandboxClaim {
        serde_json::from_value(json!({
            "apiVersion": "extensions.agents.x-k8s.io/v1beta1",
            "kind": "SandboxClaim",
            "metadata": {"name": "s-1"},
            "spec": {"warmPoolRef": {"name": "pool"}, "lifecycle": {}},
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn a_claim_is_bound_when_it_names_a_sandbox() {
        assert_eq!(claim(&json!(null)).bound_to(), None);
        assert_eq!(claim(&json!({"conditions": []})).bound_to(), None);
        let bound = claim(&json!({"sandbox": {"name": "pool-abcde", "podIPs": ["10.0.0.1"]}}));
        assert_eq!(bound.bound_to(), Some("pool-abcde"));
    }

    #[test]
    fn only_what_waiting_cannot_cure_is_a_refusal() {
        let with = |reason: &str| {
            claim(&json!({"conditions": [{"type": "Ready", "status": "False", "reason": reason}]}))
        };
        assert_eq!(with("WarmPoolNotFound").refusal(), None);
        assert_eq!(with("SomethingNew").refusal(), None);
        assert_eq!(with("InvalidMetadata").refusal().unwrap(), "InvalidMetadata: ");
    }
}
