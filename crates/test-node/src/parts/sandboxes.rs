//! What makes the node a home for sandboxes: volumes, enforced network policies, agent-sandbox.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::address::{LOOPBACK, NODE_NAME, SERVICE_RANGE};
use crate::directory::NodeDirectory;
use crate::failure::NodeError;
use crate::kubectl::Kubectl;
use crate::process::Part;

/// Without a name of it a claim for a volume gets one of this class.
const STORAGE_CLASS: &str = "test-node";

/// Where agent-sandbox's controller tells of itself, once it works.
pub(crate) const AGENT_SANDBOX_PORT: u16 = 8081;
const METRICS_PORT: u16 = 8080;

/// Gives claims for volumes a folder of the node.
pub(crate) fn volume_provisioner(
    directory: &NodeDirectory,
    kubernetes: &Path,
) -> Result<Part, NodeError> {
    let arguments = vec![
        directory.access("add-ons.kubeconfig").display().to_string(),
        directory.folder("volumes")?.display().to_string(),
        STORAGE_CLASS.to_owned(),
    ];
    let program = kubernetes.join("volume-provisioner");
    Ok(Part { name: "volume-provisioner", program, arguments })
}

/// Enforces network policies, and nothing else: routing is the bridge's, services are nobody's.
pub(crate) fn enforcer(directory: &NodeDirectory, program: PathBuf) -> Part {
    let arguments = vec![
        format!("--kubeconfig={}", directory.access("add-ons.kubeconfig").display()),
        "--run-firewall=true".to_owned(),
        "--run-router=false".to_owned(),
        "--run-service-proxy=false".to_owned(),
        format!("--hostname-override={NODE_NAME}"),
        format!("--service-cluster-ip-range={SERVICE_RANGE}"),
        // It lets every pod through to these ports of the node, whatever a policy says. Two are the least; nobody uses these.
        "--service-node-port-range=1-2".to_owned(),
        "--health-port=0".to_owned(),
        "--metrics-port=0".to_owned(),
    ];
    Part { name: "kube-router", program, arguments }
}

pub(crate) fn agent_sandbox(directory: &NodeDirectory, folder: &Path) -> Part {
    let arguments = vec![
        format!("--kubeconfig={}", directory.access("add-ons.kubeconfig").display()),
        "--extensions".to_owned(),
        "--enable-webhook=false".to_owned(),
        "--leader-elect=false".to_owned(),
        format!("--metrics-bind-address={LOOPBACK}:{METRICS_PORT}"),
        format!("--health-probe-bind-address={LOOPBACK}:{AGENT_SANDBOX_PORT}"),
    ];
    let program = folder.join("agent-sandbox-controller");
    Part { name: "agent-sandbox-controller", program, arguments }
}

/// Tells the API server of the kinds that agent-sandbox has, and of the class of volumes.
pub(crate) fn define_sandboxes(kubectl: &Kubectl, crds: &Path) -> Result<(), NodeError> {
    let entries = fs::read_dir(crds).map_err(NodeError::file("list", crds))?;
    let mut files: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| is_yaml(path)).collect();
    files.sort();
    let mut definitions = vec![storage_class()];
    for file in files {
        let read = kubectl.read_file(&file)?;
        definitions.extend(cut(read));
    }
    let list = json!({"apiVersion": "v1", "kind": "List", "items": definitions});
    kubectl.apply(&list)?;
    kubectl.run(&["wait", "crd", "--all", "--for=condition=Established", "--timeout=60s"]).map(drop)
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml")
}

fn storage_class() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "test-node/folder",
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
    })
}

/// A kind in its newest version alone: the older one would need a webhook that converts. What is no such
/// definition is left out.
fn cut(mut definition: Value) -> Option<Value> {
    let spec = definition.get_mut("spec")?;
    let versions = spec.get_mut("versions")?.as_array_mut()?;
    versions.retain(|version| version.get("name").is_some_and(|name| name == "v1beta1"));
    spec.as_object_mut()?.insert("conversion".to_owned(), json!({"strategy": "None"}));
    definition.as_object_mut()?.remove("status");
    if let Some(metadata) = definition.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("creationTimestamp");
    }
    Some(definition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_left_with_the_version_that_needs_no_conversion() {
        let cut = cut(json!({
            "metadata": {"name": "sandboxes", "creationTimestamp": null},
            "spec": {
                "conversion": {"strategy": "Webhook", "webhook": {}},
                "versions": [{"name": "v1alpha1"}, {"name": "v1beta1", "storage": true}],
            },
            "status": {},
        }));
        let expected = json!({
            "metadata": {"name": "sandboxes"},
            "spec": {
                "conversion": {"strategy": "None"},
                "versions": [{"name": "v1beta1", "storage": true}],
            },
        });
        assert_eq!(cut, Some(expected));
    }
}
