//! The Kubernetes backend on a real node: kubelet, agent-sandbox controller, enforced network policies. `LAP_TEST_NODE` names it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod identity;
mod node;
mod runs;
mod walls;
