//! Whether this machine can run a node, told in one sentence when it cannot.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::command::{find, run};
use crate::failure::NodeError;
use crate::network::CNI_PROGRAMS;

/// The controllers without which no container is limited; version 2 has them all or says so itself.
const CGROUPS: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];
const PROGRAMS: [(&str, &str); 8] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("etcd", "etcd-server"),
    ("iptables", "iptables"),
    ("ipset", "ipset"),
    ("ip", "iproute2"),
    ("mmdebstrap", "mmdebstrap"),
];

/// Fails with what is missing.
pub(crate) fn check() -> Result<(), NodeError> {
    if !nix::unistd::geteuid().is_root() {
        return unable("it takes root to start containers");
    }
    for (program, package) in PROGRAMS {
        if find(program).is_none() {
            return unable(&format!("the program {program} is missing (Debian's {package})"));
        }
    }
    if !Path::new(CNI_PROGRAMS).join("bridge").exists() {
        return unable("the network plug-ins are missing (Debian's containernetworking-plugins)");
    }
    if let Some(missing) = missing_cgroup(Path::new("/sys/fs/cgroup")) {
        return unable(&format!("it has no control group {missing}"));
    }
    let filesystems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !filesystems.contains("overlay") && !has_module("overlay") {
        return unable("its kernel has no overlay file system");
    }
    if !Path::new("/proc/sys/net/bridge").exists() && !has_module("br_netfilter") {
        return unable("its kernel does not show a bridge's packets to iptables (br_netfilter)");
    }
    Ok(())
}

fn unable(reason: &str) -> Result<(), NodeError> {
    Err(NodeError::Unable(reason.to_owned()))
}

/// Loads a module of the kernel, if there is such a thing here.
fn has_module(module: &str) -> bool {
    run(Command::new("modprobe").arg(module)).is_ok()
}

fn missing_cgroup(root: &Path) -> Option<&'static str> {
    let unified = fs::read_to_string(root.join("cgroup.controllers")).ok();
    let has = |name: &str| match &unified {
        Some(controllers) => controllers.split_whitespace().any(|controller| controller == name),
        None => root.join(name).join("tasks").exists(),
    };
    CGROUPS.into_iter().find(|name| !has(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_control_group_is_named_in_both_versions() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("1"), folder.path().join("2"));
        for name in ["cpu", "cpuset", "memory"] {
            fs::create_dir_all(first.join(name)).unwrap();
            fs::write(first.join(name).join("tasks"), "").unwrap();
        }
        assert_eq!(missing_cgroup(&first), Some("pids"));

        fs::create_dir(&second).unwrap();
        fs::write(second.join("cgroup.controllers"), "cpuset cpu io pids").unwrap();
        assert_eq!(missing_cgroup(&second), Some("memory"));
    }
}
