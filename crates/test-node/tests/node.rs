//! What a node for tests has to be able to do, seen from outside: `LAP_TEST_NODE` names it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

#[path = "node/cluster.rs"]
mod cluster;

use std::net::TcpListener;

use cluster::{Namespace, container, pod};
use serde_json::{Value, json};
use test_node::{API_PORT, HARNESS, NODE};

/// The metadata service of clouds.
const METADATA: &str = "169.254.169.254:80";

#[test]
fn a_pod_gets_ready() {
    let Some(namespace) = Namespace::make("ready") else { return };
    namespace.apply(&pod("one", &json!({}), &container()));
    namespace.wait("pod/one", "condition=Ready");
    assert_eq!(
        namespace.exec("one", &["cat", "/etc/debian_version"]).split('.').next(),
        Some("12")
    );
}

#[test]
fn a_claim_is_bound_to_a_warm_sandbox_whose_files_outlive_a_pause() {
    let Some(namespace) = Namespace::make("claim") else { return };
    let volume = json!({
        "metadata": {"name": "workspace"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    });
    let mut container = container();
    container["image"] = json!(HARNESS);
    container["volumeMounts"] =
        json!([{"name": "workspace", "mountPath": "/workspace", "subPath": "workspace"}]);
    let spec = json!({
        "terminationGracePeriodSeconds": 0,
        "securityContext": {"runAsNonRoot": true, "runAsUser": 5001, "fsGroup": 5001},
        "containers": [container],
    });
    let template = json!({"podTemplate": {"spec": spec}, "volumeClaimTemplates": [volume]});
    namespace.apply(&extension("SandboxTemplate", "t", &template));
    let pool = json!({"replicas": 1, "sandboxTemplateRef": {"name": "t"}});
    namespace.apply(&extension("SandboxWarmPool", "p", &pool));
    namespace.wait("sandboxwarmpool/p", "jsonpath={.status.readyReplicas}=1");
    let warm = namespace.get("pods")["items"][0]["metadata"].clone();

    namespace.apply(&extension("SandboxClaim", "s-1", &json!({"warmPoolRef": {"name": "p"}})));
    namespace.wait("sandboxclaim/s-1", "condition=Ready");
    let claim = namespace.get("sandboxclaim/s-1");
    let sandbox = claim["status"]["sandbox"]["name"].as_str().unwrap();
    assert_eq!(warm["name"], sandbox, "the claim did not get the sandbox that was warm");
    namespace.exec(sandbox, &["sh", "-c", "echo kept > /workspace/file"]);

    let patch = |mode: &str| {
        let patch = json!({"spec": {"operatingMode": mode}}).to_string();
        let name = format!("sandbox/{sandbox}");
        namespace.run(&["patch", &name, "--type=merge", "--patch", &patch]);
    };
    patch("Suspended");
    let name = format!("pod/{sandbox}");
    namespace.wait(&name, "delete");
    patch("Running");
    namespace.wait(&name, "create");
    namespace.wait(&name, "condition=Ready");
    assert_ne!(namespace.get(&name)["metadata"]["uid"], warm["uid"]);
    assert_eq!(namespace.exec(sandbox, &["cat", "/workspace/file"]), "kept\n");
}

#[test]
fn a_policy_leaves_one_port_open_and_nothing_else() {
    let Some(namespace) = Namespace::make("policy") else { return };
    // The kernel takes connections to them; nobody needs to answer.
    let allowed = TcpListener::bind((NODE, 0)).unwrap();
    // An enforcer may take these for everybody's, as they are those of services (NodePort).
    let other_port = (30001..32768).find_map(|port| TcpListener::bind((NODE, port)).ok()).unwrap();
    let port = allowed.local_addr().unwrap().port();
    let mut server = container();
    server["command"] = json!(["python3", "-m", "http.server", "8000"]);
    server["readinessProbe"] = json!({"tcpSocket": {"port": 8000}, "periodSeconds": 1});
    namespace.apply(&pod("other", &json!({}), &server));
    namespace.apply(&pod("free", &json!({}), &container()));
    let rule = json!({
        "to": [{"ipBlock": {"cidr": format!("{NODE}/32")}}],
        "ports": [{"protocol": "TCP", "port": port}],
    });
    namespace.apply(&json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "one-port"},
        "spec": {
            "podSelector": {"matchLabels": {"held": "yes"}},
            "policyTypes": ["Ingress", "Egress"],
            "egress": [rule],
        },
    }));
    namespace.apply(&pod("held", &json!({"held": "yes"}), &container()));
    for name in ["pod/other", "pod/free", "pod/held"] {
        namespace.wait(name, "condition=Ready");
    }
    let other = namespace.get("pod/other")["status"]["podIP"].as_str().unwrap().to_owned();
    let (open, closed) = (allowed.local_addr().unwrap(), other_port.local_addr().unwrap());
    let (open, closed) = (open.to_string(), closed.to_string());
    let (api, other) = (format!("{NODE}:{API_PORT}"), format!("{other}:8000"));

    // Whoever is not held gets everywhere: what is closed below is closed by the policy.
    let reachable = [open.as_str(), &closed, &api, &other];
    let all_open = reachable.map(|address| (address.to_owned(), "open".to_owned()));
    assert_eq!(namespace.reach("free", &reachable), all_open);

    namespace.wait_for_refusal("held", &closed);
    let addresses = [open.as_str(), &closed, &api, &other, METADATA];
    let expected = addresses.map(|address| {
        let outcome = if address == open { "open" } else { "refused" };
        (address.to_owned(), outcome.to_owned())
    });
    assert_eq!(namespace.reach("held", &addresses), expected);
    let held = namespace.get("pod/held")["status"]["podIP"].as_str().unwrap().to_owned();
    let into = format!("{held}:8000");
    assert_eq!(namespace.reach("free", &[&into]), [(into.clone(), "refused".to_owned())]);
}

#[test]
fn a_token_that_a_pod_was_given_names_the_pod() {
    let Some(namespace) = Namespace::make("token") else { return };
    let token = json!({"audience": "lap-link", "path": "token", "expirationSeconds": 600});
    let mut held = container();
    held["volumeMounts"] = json!([{"name": "identity", "mountPath": "/run/identity"}]);
    let mut one = pod("one", &json!({}), &held);
    one["spec"]["volumes"] = json!([
        {"name": "identity", "projected": {"sources": [{"serviceAccountToken": token}]}}
    ]);
    namespace.apply(&one);
    namespace.wait("pod/one", "condition=Ready");
    let token = namespace.exec("one", &["cat", "/run/identity/token"]);
    let review = |audience: &str| {
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        });
        let arguments = ["create", "--output=json", "-f", "-"];
        let answer = namespace.kubectl().feed(&arguments, &review.to_string()).unwrap();
        serde_json::from_str::<Value>(&answer).unwrap()["status"].clone()
    };
    let status = review("lap-link");
    assert_eq!(status["authenticated"], true);
    let uid = &status["user"]["extra"]["authentication.kubernetes.io/pod-uid"][0];
    assert_eq!(*uid, namespace.get("pod/one")["metadata"]["uid"]);
    assert_eq!(review("another")["authenticated"], Value::Null);
}

fn extension(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "extensions.agents.x-k8s.io/v1beta1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    })
}
