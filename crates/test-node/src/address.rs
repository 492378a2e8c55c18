//! Where the parts of the node listen: on the bridge of the pods, or on a loopback address that nothing else uses.

/// The bridge to which pods are joined; the node's own address is on it.
pub const BRIDGE: &str = "testnode0";
/// The node, as pods and as whoever uses the node see it. Services of the machine are reached here from a pod.
pub const NODE: &str = "10.244.0.1";
pub(crate) const POD_RANGE: &str = "10.244.0.0/24";
pub(crate) const SERVICE_RANGE: &str = "10.96.0.0/24";
/// The first address of the range is the API server's.
pub(crate) const API_SERVICE: &str = "10.96.0.1";
/// What only parts of the node talk to: no pod gets there.
pub(crate) const LOOPBACK: &str = "127.244.0.1";
pub const API_PORT: u16 = 6443;
pub(crate) const ETCD_PORT: u16 = 2379;
pub(crate) const NODE_NAME: &str = "node1";

/// The API server as it is dialled.
pub(crate) fn api_server() -> String {
    format!("https://{NODE}:{API_PORT}")
}
