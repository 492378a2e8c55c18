//! etcd and the three parts of Kubernetes that decide.

use std::net::TcpStream;
use std::path::{Path, PathBuf};

use crate::access::{AUTHORITY, TOKEN_KEY, TOKEN_PROOF};
use crate::address::{API_PORT, ETCD_PORT, LOOPBACK, NODE, POD_RANGE, SERVICE_RANGE};
use crate::directory::NodeDirectory;
use crate::failure::NodeError;
use crate::process::Part;

pub(crate) const CONTROLLER_MANAGER_PORT: u16 = 10257;
pub(crate) const SCHEDULER_PORT: u16 = 10259;

pub(crate) fn etcd(directory: &NodeDirectory) -> Result<Part, NodeError> {
    let data = directory.folder("etcd")?;
    let clients = format!("http://{LOOPBACK}:{ETCD_PORT}");
    let peers = format!("http://{LOOPBACK}:{}", ETCD_PORT + 1);
    let arguments = vec![
        "--name=test-node".to_owned(),
        format!("--data-dir={}", data.display()),
        format!("--listen-client-urls={clients}"),
        format!("--advertise-client-urls={clients}"),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
        format!("--initial-cluster=test-node={peers}"),
        // What a test node knows need not outlive the machine.
        "--unsafe-no-fsync".to_owned(),
    ];
    Ok(Part { name: "etcd", program: PathBuf::from("etcd"), arguments })
}

/// Whether something takes connections at a port that is for parts of the node alone.
pub(crate) fn listens(port: u16) -> Result<(), String> {
    TcpStream::connect((LOOPBACK, port)).map(drop).map_err(|error| error.to_string())
}

pub(crate) fn api_server(directory: &NodeDirectory, kubernetes: &Path) -> Part {
    let access = |name: &str| directory.access(name).display().to_string();
    let arguments = vec![
        format!("--etcd-servers=http://{LOOPBACK}:{ETCD_PORT}"),
        format!("--bind-address={NODE}"),
        format!("--advertise-address={NODE}"),
        format!("--secure-port={API_PORT}"),
        format!("--service-cluster-ip-range={SERVICE_RANGE}"),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        format!("--client-ca-file={}", access(AUTHORITY)),
        format!("--tls-cert-file={}", access("apiserver.crt")),
        format!("--tls-private-key-file={}", access("apiserver.key")),
        format!("--kubelet-certificate-authority={}", access(AUTHORITY)),
        format!("--kubelet-client-certificate={}", access("apiserver-to-kubelet.crt")),
        format!("--kubelet-client-key={}", access("apiserver-to-kubelet.key")),
        // By its name nobody finds the node: there is no DNS.
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={}", access(TOKEN_PROOF)),
        format!("--service-account-signing-key-file={}", access(TOKEN_KEY)),
        "--allow-privileged=true".to_owned(),
    ];
    Part { name: "kube-apiserver", program: kubernetes.join("kube-apiserver"), arguments }
}

pub(crate) fn controller_manager(directory: &NodeDirectory, kubernetes: &Path) -> Part {
    let access = |name: &str| directory.access(name).display().to_string();
    let arguments = vec![
        format!("--kubeconfig={}", access("controller-manager.kubeconfig")),
        format!("--bind-address={LOOPBACK}"),
        format!("--secure-port={CONTROLLER_MANAGER_PORT}"),
        "--leader-elect=false".to_owned(),
        "--use-service-account-credentials=true".to_owned(),
        format!("--root-ca-file={}", access(AUTHORITY)),
        format!("--service-account-private-key-file={}", access(TOKEN_KEY)),
        // Gives the node the range of its pods, by which the enforcer tells who is local.
        "--allocate-node-cidrs=true".to_owned(),
        format!("--cluster-cidr={POD_RANGE}"),
        "--node-cidr-mask-size=24".to_owned(),
    ];
    let program = kubernetes.join("kube-controller-manager");
    Part { name: "kube-controller-manager", program, arguments }
}

pub(crate) fn scheduler(directory: &NodeDirectory, kubernetes: &Path) -> Part {
    let kubeconfig = directory.access("scheduler.kubeconfig");
    let arguments = vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--bind-address={LOOPBACK}"),
        format!("--secure-port={SCHEDULER_PORT}"),
        "--leader-elect=false".to_owned(),
    ];
    Part { name: "kube-scheduler", program: kubernetes.join("kube-scheduler"), arguments }
}
