//! kubelet, with a root folder of its own.

use std::path::Path;

use serde_json::json;

use crate::access::AUTHORITY;
use crate::address::{LOOPBACK, NODE, NODE_NAME};
use crate::directory::{NodeDirectory, write};
use crate::failure::NodeError;
use crate::process::Part;

pub(crate) fn kubelet(directory: &NodeDirectory, kubernetes: &Path) -> Result<Part, NodeError> {
    let folder = directory.folder("kubelet")?;
    let config = folder.join("config.json");
    write(&config, &configuration(directory, &folder)?)?;
    let arguments = vec![
        format!("--config={}", config.display()),
        format!("--kubeconfig={}", directory.access("kubelet.kubeconfig").display()),
        format!("--root-dir={}", folder.display()),
        format!("--cert-dir={}", folder.join("certificates").display()),
        format!("--hostname-override={NODE_NAME}"),
        format!("--node-ip={NODE}"),
    ];
    Ok(Part { name: "kubelet", program: kubernetes.join("kubelet"), arguments })
}

fn configuration(directory: &NodeDirectory, folder: &Path) -> Result<String, NodeError> {
    // Pods that ask the node for its resolver get one that nobody is.
    let resolver = folder.join("resolv.conf");
    write(&resolver, "nameserver 127.0.0.1\n")?;
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE,
        "healthzBindAddress": LOOPBACK,
        "readOnlyPort": 0,
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": directory.access(AUTHORITY)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": directory.access("kubelet-server.crt"),
        "tlsPrivateKeyFile": directory.access("kubelet-server.key"),
        "containerRuntimeEndpoint": format!("unix://{}", directory.containerd_socket().display()),
        "cgroupDriver": "cgroupfs",
        "failSwapOn": false,
        "resolvConf": resolver,
        "oomScoreAdj": 0,
        // The node is one guest of the machine among others: their files and memory are no reason to evict.
        "evictionHard": {"memory.available": "100Mi"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "makeIPTablesUtilChains": false,
        "podLogsDir": folder.join("pod-logs"),
        "volumePluginDir": folder.join("plug-ins"),
        "staticPodPath": "",
        "maxPods": 110,
        "serializeImagePulls": false,
    });
    Ok(format!("{config:#}\n"))
}
