//! `Sandbox` of agents.x-k8s.io: one pod at a time, and the volume that outlives it.

use kube::CustomResource;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Only what this service reads. It writes single fields, never the whole.
#[derive(CustomResource, Clone, Debug, Default, Serialize, Deserialize)]
#[kube(
    group = "agents.x-k8s.io",
    version = "v1beta1",
    kind = "Sandbox",
    plural = "sandboxes",
    namespaced,
    schema = "disabled",
    status = "SandboxStatus",
    derive = "Default"
)]
#[serde(rename_all = "camelCase", default)]
pub struct SandboxSpec {
    pub pod_template: Value,
    pub operating_mode: OperatingMode,
}

/// Whether it is to have a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperatingMode {
    #[default]
    Running,
    Suspended,
    /// Of a newer version.
    #[serde(other)]
    Unknown,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SandboxStatus {
    pub conditions: Vec<Condition>,
}

/// As in other objects of Kubernetes; what is unknown is read over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
    pub reason: String,
    pub message: String,
}

/// What the conditions say about one thing, in a sentence.
pub fn tell(conditions: &[Condition], kind: &str) -> Option<String> {
    let condition = conditions.iter().find(|condition| condition.kind == kind)?;
    Some(format!("{}: {}", condition.reason, condition.message))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_newer_version_adds_is_read_over() {
        let object = json!({
            "apiVersion": "agents.x-k8s.io/v1beta1",
            "kind": "Sandbox",
            "metadata": {"name": "s-1", "namespace": "team"},
            "spec": {"operatingMode": "Hibernating", "podTemplate": {}, "newField": 1},
            "status": {
                "conditions": [{"type": "Ready", "status": "Maybe", "reason": "New", "severity": 3}],
                "newStatus": {"a": []}
            }
        });
        let sandbox: Sandbox = serde_json::from_value(object).unwrap();
        assert_eq!(sandbox.spec.operating_mode, OperatingMode::Unknown);
        let conditions = sandbox.status.unwrap().conditions;
        assert_eq!(tell(&conditions, "Ready").unwrap(), "New: ");
    }
}
