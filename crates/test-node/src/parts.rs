//! The parts of the node: what each is told, and when it is ready.

mod containers;
mod control_plane;
mod kubelet;
mod sandboxes;

pub(crate) use containers::{PAUSE_IMAGE, containerd, containerd_is_ready, ctr};
pub(crate) use control_plane::{
    CONTROLLER_MANAGER_PORT, SCHEDULER_PORT, api_server, controller_manager, etcd, listens,
    scheduler,
};
pub(crate) use kubelet::kubelet;
pub(crate) use sandboxes::{
    AGENT_SANDBOX_PORT, agent_sandbox, define_sandboxes, enforcer, volume_provisioner,
};

/// In the order in which they are started; the other way round they are stopped.
pub(crate) const NAMES: [&str; 9] = [
    "containerd",
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-router",
    "volume-provisioner",
    "agent-sandbox-controller",
];
