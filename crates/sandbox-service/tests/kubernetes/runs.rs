//! A session's runs: what ends them, and what outlives them.

use sandbox_service::backend::{BackendError, SandboxBackend};

use super::node::{Node, within};

#[tokio::test(flavor = "multi_thread")]
async fn files_outlive_a_pause_and_the_pod_is_another_one() {
    let Some(node) = Node::find().await else { return };
    let first = node.order(None);
    let before = node.start(&first).await;
    assert!(node.backend.is_running(first.sandbox));
    assert!(node.backend.has_workspace(first.session.unwrap()));
    node.exec(&before.name, &["sh", "-c", "echo kept > /workspace/file"]).unwrap();

    node.backend.stop(first.sandbox).await.unwrap();
    assert!(!node.exists(&format!("pod/{}", before.name)), "its pod was still there");
    assert!(node.exists(&format!("persistentvolumeclaim/workspace-{}", before.name)));
    assert!(!node.backend.held().sandboxes.contains(&first.sandbox));
    node.backend.stop(first.sandbox).await.unwrap();

    let second = node.order(first.session);
    let after = node.start(&second).await;
    assert_ne!(after.uid, before.uid);
    assert_eq!(node.exec(&after.name, &["cat", "/workspace/file"]).unwrap(), "kept\n");
    assert!(node.backend.held().sandboxes.contains(&second.sandbox));

    node.backend.remove_workspace(first.session.unwrap()).await.unwrap();
    assert!(!node.exists(&format!("persistentvolumeclaim/workspace-{}", before.name)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_pod_is_the_end_of_its_run_and_not_of_the_files() {
    let Some(node) = Node::find().await else { return };
    let first = node.order(None);
    let before = node.start(&first).await;
    node.exec(&before.name, &["sh", "-c", "echo kept > /home/agent/file"]).unwrap();
    let ended = node.backend.ended(first.sandbox);
    node.run(&["delete", "pod", &before.name, "--wait=false"]);
    assert_eq!(within(ended).await.reason, "exited");

    node.backend.stop(first.sandbox).await.unwrap();
    let second = node.order(first.session);
    let after = node.start(&second).await;
    assert_ne!(after.uid, before.uid);
    assert_eq!(node.exec(&after.name, &["cat", "/home/agent/file"]).unwrap(), "kept\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_ends_is_the_end_of_the_run() {
    let Some(node) = Node::find().await else { return };
    let order = node.order(None);
    let pod = node.start(&order).await;
    let ended = node.backend.ended(order.sandbox);
    // The first process of a room hears only signals that it wants to hear.
    let _it_ends_with_the_room = node.exec(&pod.name, &["kill", "-TERM", "1"]);
    assert_eq!(within(ended).await.reason, "exited");
    assert!(!node.backend.is_running(order.sandbox));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_another_deleted_is_a_lost_workspace_and_no_silent_new_one() {
    let Some(node) = Node::find().await else { return };
    let first = node.order(None);
    let pod = node.start(&first).await;
    let ended = node.backend.ended(first.sandbox);
    node.run(&["delete", "sandbox", &pod.name]);
    within(ended).await;
    node.backend.stop(first.sandbox).await.unwrap();

    let refused = node.backend.start(&node.order(first.session)).await;
    assert!(matches!(refused, Err(BackendError::WorkspaceLost(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_taken_over_by_whoever_looks_at_the_cluster() {
    let (Some(node), Some(successor)) = (Node::find().await, Node::find().await) else { return };
    let order = node.order(None);
    let pod = node.start(&order).await;
    within(async {
        while !successor.backend.adopt(order.sandbox) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let ended = successor.backend.ended(order.sandbox);
    node.run(&["delete", "pod", &pod.name, "--wait=false"]);
    within(ended).await;
    successor.backend.stop(order.sandbox).await.unwrap();
    assert!(!node.exists(&format!("pod/{}", pod.name)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_not_there_ends_the_start_and_says_which() {
    let Some(node) = Node::find().await else { return };
    let mut order = node.order(None);
    order.image = Some("localhost/absent:test".to_owned());
    node.backend.start(&order).await.unwrap();
    let ended = within(node.backend.ended(order.sandbox)).await;
    assert_eq!(ended.reason, "start_failed");
    assert!(ended.message.contains("localhost/absent:test"), "{}", ended.message);
}
