//! What a pod reaches: the link and vault-proxy. And what reaches a pod: nothing.

use std::time::Duration;

use super::node::{Node, within};

#[tokio::test(flavor = "multi_thread")]
async fn from_inside_a_pod_nothing_but_the_link_is_reachable() {
    let Some(node) = Node::find().await else { return };
    let (order, neighbour) = (node.order(None), node.order(None));
    let pod = node.start(&order).await;
    let other = node.start(&neighbour).await;
    let link = node.link.local_addr().unwrap();
    // The kernel takes connections to both; nobody needs to answer.
    let elsewhere = std::net::TcpListener::bind((link.ip(), 0)).unwrap();
    let closed = elsewhere.local_addr().unwrap().to_string();
    // Rules come about a second after a pod.
    within(async {
        while reaches(&node, &pod.name, &closed) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    assert!(reaches(&node, &pod.name, &link.to_string()), "the link must be reachable");
    let address = |name: &str| {
        let found = node.get(&format!("pod/{name}"))["status"]["podIP"].clone();
        found.as_str().unwrap().to_owned()
    };
    for target in [
        closed,
        format!("{}:4000", address(&other.name)),
        "169.254.169.254:80".to_owned(),
        format!("{}:6443", link.ip()),
        format!("{}:10250", link.ip()),
        "8.8.8.8:53".to_owned(),
    ] {
        assert!(!reaches(&node, &pod.name, &target), "{target} was reached");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_harness_holds_neither_token_nor_journal_nor_rights() {
    let Some(node) = Node::find().await else { return };
    let pod = node.start(&node.order(None)).await;
    let says = |script: &str| node.exec(&pod.name, &["sh", "-c", script]).unwrap();
    let there = says(
        "for path in /run/identity /var/run/secrets/kubernetes.io /journal /volume /run/supervise; do test -e $path && echo $path; done; true",
    );
    assert_eq!(there, "");
    assert_eq!(says("id -u").trim(), "5001");
    let rights = says("grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status");
    let values: Vec<_> = rights.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(values, ["0000000000000000", "0000000000000000", "1", "2"], "{rights}");
    for path in [
        "/etc/passwd",
        "/opt/lap/sandbox-agent",
        "/run/egress/file",
        "/run/trust/ca-certificates.crt",
    ] {
        assert!(says(&format!("(echo x >> {path}) 2>/dev/null; echo $?")).trim() != "0", "{path}");
    }
}

fn reaches(node: &Node, pod: &str, target: &str) -> bool {
    let (host, port) = target.rsplit_once(':').unwrap();
    let script = format!("import socket; socket.create_connection(({host:?}, {port}), 2)");
    node.exec(pod, &["python3", "-c", &script]).is_ok()
}
