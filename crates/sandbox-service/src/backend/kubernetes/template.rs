//! `SandboxTemplate` of extensions.agents.x-k8s.io: what the pods of one version of an environment are like.

use kube::CustomResource;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Authored here as a whole, so that its parts stay JSON. A template has no status.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "extensions.agents.x-k8s.io",
    version = "v1beta1",
    kind = "SandboxTemplate",
    plural = "sandboxtemplates",
    namespaced,
    schema = "disabled",
    derive = "Default"
)]
#[serde(rename_all = "camelCase")]
pub struct SandboxTemplateSpec {
    pub pod_template: Value,
    #[serde(default)]
    pub volume_claim_templates: Value,
    #[serde(default)]
    pub network_policy: Value,
}
