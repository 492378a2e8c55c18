//! Who dials: only a living pod with a token for the link is believed, and only for its own session.

use sandbox_service::backend::SandboxBackend;
use sandbox_service::backend::kubernetes::{PodError, Standing};
use serde_json::json;

use super::node::{Node, Pod};

const LINK: &str = "lap-link";

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_known_by_its_token_and_only_as_long_as_it_lives() {
    let Some(node) = Node::find().await else { return };
    let order = node.order(None);
    let pod = node.start(&order).await;
    let pods = node.backend.pods().unwrap();
    let shown = token(&node, &pod, LINK);
    let known = pods.who(&shown).await.unwrap();
    assert_eq!((&known.name, &known.uid), (&pod.name, &pod.uid));
    let standing = pods.standing(&known).await.unwrap();
    let (sandbox, session) = (order.sandbox, order.session.unwrap());
    assert_eq!(standing, Standing::Run { sandbox, team: node.team, session });

    node.backend.stop(order.sandbox).await.unwrap();
    let refused = pods.standing(&known).await;
    assert!(matches!(refused, Err(PodError::Refused(_))), "{refused:?}");

    // The next pod of the session bears the same name.
    let next = node.order(order.session);
    node.start(&next).await;
    let refused = pods.standing(&known).await;
    assert!(matches!(refused, Err(PodError::Refused(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_another_purpose_or_of_no_pod_is_refused() {
    let Some(node) = Node::find().await else { return };
    let order = node.order(None);
    let pod = node.start(&order).await;
    let pods = node.backend.pods().unwrap();
    let of_nobody = node.run(&["create", "token", "sandbox", "--audience", LINK]);
    let of_another_account = node.run(&["create", "token", "default", "--audience", LINK]);
    for forged in [
        token(&node, &pod, "https://kubernetes.default.svc"),
        of_nobody.trim().to_owned(),
        of_another_account.trim().to_owned(),
        "forged".to_owned(),
        String::new(),
    ] {
        let refused = pods.who(&forged).await;
        assert!(matches!(refused, Err(PodError::Refused(_))), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_no_sandbox_s_is_refused_although_it_has_a_token() {
    let Some(node) = Node::find().await else { return };
    // Makes the namespace.
    node.start(&node.order(None)).await;
    let image = std::env::var_os("LAP_PROBE_IMAGE").unwrap();
    let image = image.to_str().unwrap();
    let bare = json!({
        "spec": {
            "serviceAccountName": "sandbox",
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": 5001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "bare",
                "image": image,
                "imagePullPolicy": "Never",
                "command": ["sleep", "600"],
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "capabilities": {"drop": ["ALL"]},
                },
            }],
        },
    });
    node.run(&["run", "bare", "--image", image, "--overrides", &bare.to_string()]);
    let uid = node.get("pod/bare")["metadata"]["uid"].as_str().unwrap().to_owned();
    let shown = token(&node, &Pod { name: "bare".to_owned(), uid }, LINK);
    let identities = node.backend.pods().unwrap();
    let known = identities.who(&shown).await.unwrap();
    let refused = identities.standing(&known).await;
    assert!(matches!(refused, Err(PodError::Refused(_))), "{refused:?}");
}

/// As the kubelet gets it for the pod's volume.
fn token(node: &Node, pod: &Pod, audience: &str) -> String {
    let bound = ["--bound-object-kind", "Pod", "--bound-object-name", &pod.name];
    let arguments = ["create", "token", "sandbox", "--audience", audience];
    let exactly = ["--bound-object-uid", &pod.uid];
    node.run(&[&arguments[..], &bound, &exactly].concat()).trim().to_owned()
}
