//! containerd, with folders, socket and network of the node's own.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::run;
use crate::directory::{NodeDirectory, write};
use crate::failure::NodeError;
use crate::network::{CNI_PROGRAMS, plugins};
use crate::process::Part;

/// The image of a pod's first process.
pub(crate) const PAUSE_IMAGE: &str = "localhost/pause:1";

pub(crate) fn containerd(directory: &NodeDirectory) -> Result<Part, NodeError> {
    let folder = directory.folder("containerd")?;
    let networks = directory.folder("networks")?;
    write(&networks.join("10-test-node.conflist"), &plugins(directory)?)?;
    let config = folder.join("config.toml");
    let socket = directory.containerd_socket();
    write(&config, &configuration(&folder, &socket, &networks))?;
    let program = PathBuf::from("containerd");
    let arguments = vec!["-c".to_owned(), config.display().to_string()];
    Ok(Part { name: "containerd", program, arguments })
}

/// `restrict_oom_score_adj`: kubelet asks for scores that a machine without `CAP_SYS_RESOURCE` does not give.
fn configuration(folder: &Path, socket: &Path, networks: &Path) -> String {
    let (folder, socket, networks) = (folder.display(), socket.display(), networks.display());
    format!(
        r#"version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]

[grpc]
address = "{socket}"

[plugins."io.containerd.internal.v1.opt"]
path = "{folder}/opt"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
stream_server_address = "127.0.0.1"
stream_server_port = "0"
max_concurrent_downloads = 1

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{CNI_PROGRAMS}"
conf_dir = "{networks}"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"#
    )
}

pub(crate) fn containerd_is_ready(directory: &NodeDirectory) -> Result<(), String> {
    let mut command = ctr(directory);
    run(command.args(["--connect-timeout", "1s", "version"]))
        .map(drop)
        .map_err(|error| error.to_string())
}

/// containerd's own client, in the name space that kubelet's images and containers are in.
pub(crate) fn ctr(directory: &NodeDirectory) -> Command {
    let mut command = Command::new("ctr");
    command.arg("--address").arg(directory.containerd_socket()).args(["--namespace", "k8s.io"]);
    command
}
