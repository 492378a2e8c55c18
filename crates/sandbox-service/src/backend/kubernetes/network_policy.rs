//! What a pod may reach: the link and vault-proxy. Nothing reaches a pod. Pure.

use std::net::SocketAddr;

use platform_runtime::settings::KubernetesSettings;
use serde_json::{Value, json};

use super::names;

/// The rules of a template's own policy; both directions are closed but for these.
pub fn of_template(settings: &KubernetesSettings) -> Value {
    json!({ "ingress": [], "egress": ways_out(settings) })
}

/// The policy of a whole namespace: it stays when a template, and with it its policy, is gone.
pub fn of_namespace(settings: &KubernetesSettings, namespace: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": { "name": names::NETWORK_POLICY, "namespace": namespace },
        "spec": {
            "podSelector": {},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [],
            "egress": ways_out(settings),
        },
    })
}

fn ways_out(settings: &KubernetesSettings) -> Vec<Value> {
    let link = settings.link_address().map(|address| way(address, settings.link_peer.as_ref()));
    let proxy = way(settings.egress_address, settings.egress_peer.as_ref());
    link.into_iter().chain([proxy]).collect()
}

fn way(address: SocketAddr, peer: Option<&Value>) -> Value {
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let itself = || json!({ "ipBlock": { "cidr": format!("{}/{bits}", address.ip()) } });
    json!({
        "to": [peer.cloned().unwrap_or_else(itself)],
        "ports": [{ "protocol": "TCP", "port": address.port() }],
    })
}

#[cfg(test)]
mod tests {
    use super::super::settings_for_tests;
    use super::*;

    #[test]
    fn two_ways_lead_out_and_none_in() {
        let policy = of_template(&settings_for_tests());
        assert_eq!(policy["ingress"], json!([]));
        assert_eq!(
            policy["egress"],
            json!([
                {
                    "to": [{"ipBlock": {"cidr": "10.96.0.50/32"}}],
                    "ports": [{"protocol": "TCP", "port": 7070}],
                },
                {
                    "to": [{"ipBlock": {"cidr": "10.96.0.51/32"}}],
                    "ports": [{"protocol": "TCP", "port": 3128}],
                },
            ])
        );
    }

    #[test]
    fn the_namespace_has_the_same_ways_for_every_pod() {
        let peer = json!({ "podSelector": { "matchLabels": { "app": "vault-proxy" } } });
        let settings =
            KubernetesSettings { egress_peer: Some(peer.clone()), ..settings_for_tests() };
        let policy = of_namespace(&settings, "lap-team-1");
        assert_eq!(policy["spec"]["podSelector"], json!({}));
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
        assert_eq!(policy["spec"]["egress"], of_template(&settings)["egress"]);
        assert_eq!(policy["spec"]["egress"][1]["to"], json!([peer]));
    }
}
