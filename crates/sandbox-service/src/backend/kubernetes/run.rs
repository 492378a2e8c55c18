//! One run of a `Sandbox`: the pod in which one of our sandboxes lives, and how it is seen that it does no more. Pure.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;
use platform_core::id::SandboxId;
use serde::{Deserialize, Serialize};

use super::sandbox::Sandbox;
use super::{names, pod};
use crate::backend::Ended;

/// Reasons for which a container waits that no waiting cures.
const IMAGE_REASONS: [&str; 3] = ["ErrImageNeverPull", "ImagePullBackOff", "InvalidImageName"];
const OUT_OF_MEMORY: &str = "OOMKilled";

/// Where a sandbox runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub namespace: String,
    /// Of the `Sandbox`, and of its pod.
    pub name: String,
    pub sandbox_uid: String,
    pub began: Began,
}

/// What the pod was like when the run began. Kept with the `Sandbox`, for whoever takes the run over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Began {
    pub pod_uid: String,
    /// How often its containers had been started again: those of a pod that waited may have been.
    pub restarts: i32,
}

impl Began {
    pub fn of(pod: &Pod) -> Self {
        Self { pod_uid: pod.uid().unwrap_or_default(), restarts: restarts(pod) }
    }
}

impl Run {
    /// The run that a `Sandbox` has now, if it has begun.
    pub fn of(sandbox: &Sandbox) -> Option<Self> {
        let began = sandbox.annotations().get(names::RUN_ANNOTATION)?;
        Some(Self {
            namespace: sandbox.namespace()?,
            name: sandbox.name_any(),
            sandbox_uid: sandbox.uid()?,
            began: serde_json::from_str(began).ok()?,
        })
    }

    /// How it ended, if it has. `pod`: the one that has the name now.
    pub fn end(&self, pod: Option<&Pod>) -> Option<Ended> {
        let mine = pod.filter(|pod| pod.uid().as_deref() == Some(&self.began.pod_uid));
        let Some(pod) = mine else {
            return Some(ended("exited", "the sandbox's pod is gone".to_owned()));
        };
        if pod.metadata.deletion_timestamp.is_some() {
            return Some(ended("exited", "the sandbox's pod is being deleted".to_owned()));
        }
        let status = pod.status.as_ref()?;
        let phase = status.phase.as_deref().unwrap_or_default();
        if phase == "Failed" || phase == "Succeeded" {
            let reason = status.reason.as_deref().unwrap_or(phase);
            let message = status.message.as_deref().unwrap_or_default();
            return Some(ended("exited", format!("the sandbox's pod ended ({reason}) {message}")));
        }
        if restarts(pod) > self.began.restarts {
            return Some(crashed(pod));
        }
        let refused = containers(pod).find_map(|container| {
            let waiting = container.state.as_ref()?.waiting.as_ref()?;
            let reason =
                waiting.reason.as_deref().filter(|reason| IMAGE_REASONS.contains(reason))?;
            Some((container, reason, waiting.message.as_deref().unwrap_or_default()))
        });
        refused.map(|(container, reason, message)| {
            let image = &container.image;
            ended("start_failed", format!("the image {image} cannot be had ({reason}): {message}"))
        })
    }
}

/// Which of our sandboxes a `Sandbox` is at the moment.
pub fn run_of(sandbox: &Sandbox) -> Option<SandboxId> {
    names::run_of(sandbox.labels().get(names::RUN_LABEL)?)
}

/// A pod that a run can begin in: of this `Sandbox`, and not ending.
pub fn is_fit(pod: &Pod, sandbox_uid: &str) -> bool {
    let is_owned = pod.owner_references().iter().any(|owner| owner.uid == sandbox_uid);
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    is_owned
        && pod.metadata.deletion_timestamp.is_none()
        && !matches!(phase, Some("Failed" | "Succeeded"))
}

/// Why a pod does not come up, as far as its cluster says.
pub fn hindrance(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let unscheduled = conditions
        .iter()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
    unscheduled.message.clone().or_else(|| unscheduled.reason.clone())
}

fn crashed(pod: &Pod) -> Ended {
    let last = containers(pod).find_map(|container| {
        let terminated = container.last_state.as_ref()?.terminated.as_ref()?;
        Some((container.name.as_str(), terminated))
    });
    let Some((name, terminated)) = last else {
        return ended(
            "exited",
            "a container of the sandbox ended and was started again".to_owned(),
        );
    };
    if terminated.reason.as_deref() == Some(OUT_OF_MEMORY) {
        let message = "it used up its memory; give its environment more memory_mib".to_owned();
        return ended("out_of_memory", message);
    }
    let reason = terminated.reason.as_deref().unwrap_or("it ended");
    let code = terminated.exit_code;
    ended("exited", format!("the sandbox ended ({name}: {reason}, exit code {code})"))
}

fn restarts(pod: &Pod) -> i32 {
    containers(pod)
        .filter(|container| [pod::SUPERVISE, pod::HARNESS].contains(&container.name.as_str()))
        .map(|container| container.restart_count)
        .sum()
}

fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let first = status.and_then(|status| status.init_container_statuses.as_ref());
    let others = status.and_then(|status| status.container_statuses.as_ref());
    first.into_iter().chain(others).flatten()
}

fn ended(reason: &'static str, message: String) -> Ended {
    Ended { reason, message }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(uid: &str, status: &Value) -> Pod {
        serde_json::from_value(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": "s-1",
                "uid": uid,
                "ownerReferences": [
                    {"apiVersion": "agents.x-k8s.io/v1beta1", "kind": "Sandbox", "name": "s-1", "uid": "sandbox"},
                ],
            },
            "status": status,
        }))
        .unwrap()
    }

    fn run() -> Run {
        Run {
            namespace: "team".to_owned(),
            name: "s-1".to_owned(),
            sandbox_uid: "sandbox".to_owned(),
            began: Began { pod_uid: "first".to_owned(), restarts: 1 },
        }
    }

    fn container(name: &str, restarts: u32, last: &Value) -> Value {
        json!({
            "name": name, "image": "image", "imageID": "", "ready": true,
            "restartCount": restarts, "lastState": last,
        })
    }

    fn reason(pod: Option<&Pod>) -> Option<&'static str> {
        run().end(pod).map(|ended| ended.reason)
    }

    #[test]
    fn a_pod_of_the_same_name_is_not_the_same_pod() {
        assert_eq!(reason(Some(&pod("first", &json!({"phase": "Running"})))), None);
        assert_eq!(reason(Some(&pod("second", &json!({"phase": "Running"})))), Some("exited"));
        assert_eq!(reason(None), Some("exited"));
    }

    #[test]
    fn a_pod_that_is_being_deleted_or_has_failed_is_no_sandbox_any_more() {
        let mut deleted = pod("first", &json!({"phase": "Running"}));
        assert!(is_fit(&deleted, "sandbox"));
        assert!(!is_fit(&deleted, "another"));
        deleted.metadata.deletion_timestamp =
            serde_json::from_value(json!("2026-01-01T00:00:00Z")).ok();
        assert_eq!(reason(Some(&deleted)), Some("exited"));
        assert!(!is_fit(&deleted, "sandbox"));
        let failed = pod("first", &json!({"phase": "Failed", "reason": "Evicted"}));
        assert!(run().end(Some(&failed)).unwrap().message.contains("Evicted"));
        assert!(!is_fit(&failed, "sandbox"));
    }

    #[test]
    fn a_container_that_was_started_again_is_another_run() {
        let once = json!({"containerStatuses": [container("supervise", 1, &json!({}))]});
        assert_eq!(reason(Some(&pod("first", &once))), None);
        let killed = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
        let again = json!({
            "containerStatuses": [container("supervise", 1, &json!({})), container("harness", 1, &killed)],
        });
        assert_eq!(reason(Some(&pod("first", &again))), Some("out_of_memory"));
    }

    #[test]
    fn an_image_that_cannot_be_had_ends_the_start() {
        let mut waiting = container("install", 0, &json!({}));
        waiting["state"] =
            json!({"waiting": {"reason": "ErrImageNeverPull", "message": "no image"}});
        let found = pod("first", &json!({"phase": "Pending", "initContainerStatuses": [waiting]}));
        assert_eq!(reason(Some(&found)), Some("start_failed"));
    }

    #[test]
    fn a_run_is_found_again_by_what_its_sandbox_says() {
        let began = serde_json::to_string(&run().began).unwrap();
        let sandbox: Sandbox = serde_json::from_value(json!({
            "apiVersion": "agents.x-k8s.io/v1beta1",
            "kind": "Sandbox",
            "metadata": {
                "name": "s-1", "namespace": "team", "uid": "sandbox",
                "annotations": { names::RUN_ANNOTATION: began },
                "labels": { names::RUN_LABEL: "01900000-0000-7000-8000-123456789abc" },
            },
            "spec": {},
        }))
        .unwrap();
        assert_eq!(Run::of(&sandbox), Some(run()));
        assert!(run_of(&sandbox).is_some());
    }
}
