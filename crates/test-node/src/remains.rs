//! What containers leave behind when the parts that would have cleared it away have ended.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};

use crate::command::run;
use crate::directory::NodeDirectory;
use crate::failure::NodeError;
use crate::parts::ctr;
use crate::process::with_argument;

/// Where kubelet puts its pods, in each hierarchy of control groups.
const PODS_GROUP: &str = "kubepods";

/// Ends every container, and forgets it: kubelet makes those that are wanted again at the next start.
pub(crate) fn end_containers(directory: &NodeDirectory) {
    let names = |kind: &str| {
        let listed = run(ctr(directory).args([kind, "list", "--quiet"])).unwrap_or_default();
        listed.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let tasks = names("tasks");
    if !tasks.is_empty() {
        let _ = run(ctr(directory).args(["tasks", "delete", "--force"]).args(tasks));
    }
    let containers = names("containers");
    if !containers.is_empty() {
        let _ = run(ctr(directory).args(["containers", "delete"]).args(containers));
    }
}

/// Ends the processes that hold containers, which outlive containerd.
pub(crate) fn end_shims(directory: &NodeDirectory) {
    let socket = directory.containerd_socket();
    for process in with_argument(&socket.to_string_lossy()) {
        process.stop();
    }
}

/// Unmounts everything below the directory, the innermost first.
pub(crate) fn unmount(directory: &NodeDirectory) -> Result<(), NodeError> {
    let path = Path::new("/proc/self/mountinfo");
    let table = fs::read_to_string(path).map_err(NodeError::file("read", path))?;
    for mount in mounts_below(&table, directory.path()) {
        umount2(&mount, MntFlags::MNT_DETACH)
            .map_err(|error| NodeError::file("unmount", &mount)(error.into()))?;
    }
    Ok(())
}

/// Field five of each line is where something is mounted; the later lie upon the earlier.
fn mounts_below(table: &str, directory: &Path) -> Vec<PathBuf> {
    let places = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    let mut mounts: Vec<PathBuf> = places.filter(|place| place.starts_with(directory)).collect();
    mounts.reverse();
    mounts
}

/// Removes the groups of pods that are gone. One that still has a process stays, and is no harm.
pub(crate) fn remove_control_groups() {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    for hierarchy in hierarchies.chain([root.to_path_buf()]) {
        remove_group(&hierarchy.join(PODS_GROUP));
    }
}

/// kubelet writes some things outside the folder that it is given: links to the logs of pods, and a folder for plug-ins of devices.
pub(crate) fn remove_strays(directory: &NodeDirectory) {
    let links = Path::new("/var/log/containers");
    for entry in fs::read_dir(links).into_iter().flatten().flatten() {
        if fs::read_link(entry.path()).is_ok_and(|log| log.starts_with(directory.path())) {
            let _ = fs::remove_file(entry.path());
        }
    }
    let socket = Path::new("/var/lib/kubelet/device-plugins/kubelet.sock");
    if UnixStream::connect(socket).is_err() {
        let _ = fs::remove_file(socket);
    }
    // Those of another kubelet are not empty.
    for folder in ["/var/log/containers", "/var/lib/kubelet/device-plugins", "/var/lib/kubelet"] {
        let _ = fs::remove_dir(folder);
    }
}

fn remove_group(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_the_directory_are_found_innermost_first_and_others_are_left() {
        let table = "21 1 254:0 / / rw - ext4 /dev/vda rw\n\
            30 21 0:9 / /d/node/kubelet rw - tmpfs tmpfs rw\n\
            31 30 0:9 / /d/node/kubelet/pods/x rw - tmpfs tmpfs rw\n\
            32 21 0:9 / /d/node-of-another rw - tmpfs tmpfs rw\n";
        let expected = ["/d/node/kubelet/pods/x", "/d/node/kubelet"].map(PathBuf::from);
        assert_eq!(mounts_below(table, Path::new("/d/node")), expected);
    }
}
