//! A name space of the node for one test, gone with its end.

use std::env;
use std::path::PathBuf;

use serde_json::{Value, json};
use test_node::{Kubectl, PROBE};

/// Dials each argument and tells in one line each what came of it. Rules of the node's enforcer refuse; where no rule is, but
/// no way either, there is silence. The kernel refuses aloud only about once a second, so silence is asked again.
const DIAL: &str = r"
import socket, sys
def dial(host, port):
    for _ in range(5):
        try:
            socket.create_connection((host, port), 1).close()
            return 'open'
        except ConnectionRefusedError:
            return 'refused'
        except OSError:
            pass
    return 'silent'
for address in sys.argv[1:]:
    host, port = address.rsplit(':', 1)
    print(address, dial(host, int(port)))
";
/// How often a refusal is asked for. Each time takes as long as a program's start in a pod.
const TRIES: u32 = 100;

pub(crate) struct Namespace {
    name: String,
    kubectl: Kubectl,
}

impl Namespace {
    /// None, and a line on standard error, where there is no node.
    pub(crate) fn make(purpose: &str) -> Option<Self> {
        let Some(kubeconfig) = env::var_os("LAP_TEST_NODE") else {
            let test = std::thread::current().name().unwrap_or_default().to_owned();
            eprintln!("skipped: {test}: no node: eval \"$(scripts/test-node up)\" starts one");
            return None;
        };
        let program = env::var_os("LAP_TEST_NODE_KUBECTL").unwrap_or_else(|| "kubectl".into());
        let kubectl = Kubectl::new(PathBuf::from(program), PathBuf::from(kubeconfig));
        let name = format!("test-{purpose}-{}", std::process::id());
        let namespace = Self { name, kubectl };
        namespace.kubectl.run(&["create", "namespace", &namespace.name]).unwrap();
        // Pods are refused until it has one.
        namespace.wait("serviceaccount/default", "create");
        Some(namespace)
    }

    pub(crate) fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let namespace = format!("--namespace={}", self.name);
        self.kubectl.run(&[&[namespace.as_str()], arguments].concat()).unwrap()
    }

    pub(crate) fn get(&self, what: &str) -> Value {
        self.kubectl.get(&[&format!("--namespace={}", self.name), what]).unwrap()
    }

    pub(crate) fn apply(&self, object: &Value) {
        let mut object = object.clone();
        object["metadata"]["namespace"] = json!(self.name);
        self.kubectl.apply(&object).unwrap();
    }

    pub(crate) fn wait(&self, what: &str, state: &str) {
        self.run(&["wait", what, &format!("--for={state}"), "--timeout=60s"]);
    }

    pub(crate) fn exec(&self, pod: &str, command: &[&str]) -> String {
        self.run(&[&["exec", pod, "--"], command].concat())
    }

    /// What comes of dialling each address in the pod: `open`, `refused` or `silent`.
    pub(crate) fn reach(&self, pod: &str, addresses: &[&str]) -> Vec<(String, String)> {
        let told = self.exec(pod, &[&["python3", "-c", DIAL], addresses].concat());
        let pairs = told.lines().filter_map(|line| line.split_once(' '));
        pairs.map(|(address, outcome)| (address.to_owned(), outcome.to_owned())).collect()
    }

    /// The enforcer learns of a pod when it is there.
    pub(crate) fn wait_for_refusal(&self, pod: &str, address: &str) {
        let refused = (0..TRIES).any(|_| self.reach(pod, &[address])[0].1 == "refused");
        assert!(refused, "{address} was never refused");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.kubectl.run(&["delete", "namespace", &self.name, "--wait=false"]);
    }
}

/// A container that waits.
pub(crate) fn container() -> Value {
    json!({"name": "c", "image": PROBE, "command": ["sleep", "infinity"]})
}

pub(crate) fn pod(name: &str, labels: &Value, container: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
    })
}
