//! The bridge of the pods, what of the kernel's network is set for it, and taking all of it away again.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::address::{BRIDGE, NODE, POD_RANGE};
use crate::command::run;
use crate::directory::{NodeDirectory, write};
use crate::failure::NodeError;

pub(crate) const CNI_PROGRAMS: &str = "/usr/lib/cni";
/// Where the settings of the kernel that a start changed are kept as they were.
const BEFORE: &str = "run/sysctl";
/// Without forwarding a pod reaches the node alone; without the second, packets between two pods pass by every rule.
const SYSCTLS: [(&str, &str); 2] =
    [("net/ipv4/ip_forward", "1"), ("net/bridge/bridge-nf-call-iptables", "1")];
/// How the chains and sets of the network policy's enforcer begin, and the comments of those of its rules that lead to none.
const ENFORCERS: &str = "KUBE-";

/// Makes the bridge with the node's address. There can be one on a machine.
pub(crate) fn ensure(directory: &NodeDirectory) -> Result<(), NodeError> {
    let before = directory.path().join(BEFORE);
    let has_bridge = Path::new("/sys/class/net").join(BRIDGE).exists();
    if !before.exists() {
        if has_bridge {
            let reason = "a node with another --data-dir is there: stop that one first";
            return Err(NodeError::Unable(reason.to_owned()));
        }
        let values = SYSCTLS.map(|(name, _)| Ok(format!("{name}={}\n", get(name)?)));
        let values = values.into_iter().collect::<Result<String, NodeError>>()?;
        write(&before, &values)?;
    }
    if !has_bridge {
        ip(&["link", "add", BRIDGE, "type", "bridge"])?;
    }
    // Rules are written for version 4: there is to be no other way between pods and node.
    set(&format!("net/ipv6/conf/{BRIDGE}/disable_ipv6"), "1").ok();
    ip(&["address", "replace", &format!("{NODE}/24"), "dev", BRIDGE])?;
    ip(&["link", "set", BRIDGE, "up"])?;
    for (name, value) in SYSCTLS {
        set(name, value)?;
    }
    Ok(())
}

/// What containerd is told about the network of pods. There is no masquerade: no pod gets out of the machine.
pub(crate) fn plugins(directory: &NodeDirectory) -> Result<String, NodeError> {
    let addresses = json!({
        "type": "host-local",
        "ranges": [[{"subnet": POD_RANGE, "gateway": NODE}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": directory.folder("addresses")?,
    });
    let bridge = json!({
        "type": "bridge",
        "bridge": BRIDGE,
        "isGateway": true,
        "ipMasq": false,
        "hairpinMode": true,
        "ipam": addresses,
    });
    let mut plugins = vec![bridge];
    if Path::new("/proc/sys/net/ipv6").exists() {
        let quiet = json!({"net.ipv6.conf.eth0.disable_ipv6": "1"});
        plugins.push(json!({"type": "tuning", "sysctl": quiet}));
    }
    Ok(json!({"cniVersion": "0.4.0", "name": "test-node", "plugins": plugins}).to_string())
}

/// Whether the enforcer has put its chains into the kernel.
pub(crate) fn is_enforced() -> Result<(), String> {
    let chain = format!("{ENFORCERS}ROUTER-INPUT");
    let shown = run(Command::new("iptables").args(["-w", "-S", &chain]));
    shown.map(drop).map_err(|error| error.to_string())
}

/// Takes away the bridge, the rules of the enforcer, and what was set in the kernel.
pub(crate) fn remove(directory: &NodeDirectory) {
    remove_rules();
    let _ = ip(&["link", "delete", BRIDGE]);
    let before = directory.path().join(BEFORE);
    let values = fs::read_to_string(&before).unwrap_or_default();
    for (name, value) in values.lines().filter_map(|line| line.split_once('=')) {
        let _ = set(name, value);
    }
    let _ = fs::remove_file(before);
}

/// Takes away the chains and sets of an enforcer that has ended.
pub(crate) fn remove_rules() {
    for table in ["filter", "nat", "mangle"] {
        let rules = run(Command::new("iptables").args(["-t", table, "-S"])).unwrap_or_default();
        for removal in removals(&rules) {
            let _ = run(Command::new("iptables").args(["-t", table, "-w"]).args(removal));
        }
    }
    let sets = run(Command::new("ipset").args(["list", "-n"])).unwrap_or_default();
    for set in sets.lines().filter(|set| set.starts_with(ENFORCERS)) {
        let _ = run(Command::new("ipset").args(["destroy", set]));
    }
}

/// From a table as `iptables -S` shows it, what takes out the enforcer's rules and chains: first what leads to
/// them, then what is in them, then they themselves.
fn removals(table: &str) -> Vec<Vec<String>> {
    let lines: Vec<Vec<String>> = table.lines().map(words).collect();
    let is_ours = |name: &String| name.starts_with(ENFORCERS);
    let mut removals = Vec::new();
    for line in &lines {
        let after = |option| line.iter().skip_while(move |&word| word != option).nth(1);
        let (target, comment) = (after("-j"), after("--comment"));
        if let [add, chain, rest @ ..] = line.as_slice()
            && add == "-A"
            && !is_ours(chain)
            && (target.is_some_and(is_ours) || comment.is_some_and(is_ours))
        {
            let begin = ["-D".to_owned(), chain.clone()];
            removals.push(begin.into_iter().chain(rest.iter().cloned()).collect());
        }
    }
    for action in ["-F", "-X"] {
        for line in &lines {
            if let [new, chain] = line.as_slice()
                && new == "-N"
                && is_ours(chain)
            {
                removals.push(vec![action.to_owned(), chain.clone()]);
            }
        }
    }
    removals
}

/// A rule's words; a comment in quotation marks is one.
fn words(rule: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, piece) in rule.split('"').enumerate() {
        if index % 2 == 1 {
            words.push(piece.to_owned());
        } else {
            words.extend(piece.split_whitespace().map(str::to_owned));
        }
    }
    words
}

fn ip(arguments: &[&str]) -> Result<(), NodeError> {
    run(Command::new("ip").args(arguments)).map(drop)
}

fn get(name: &str) -> Result<String, NodeError> {
    let path = Path::new("/proc/sys").join(name);
    let value = fs::read_to_string(&path).map_err(NodeError::file("read", &path))?;
    Ok(value.trim().to_owned())
}

fn set(name: &str, value: &str) -> Result<(), NodeError> {
    let path = Path::new("/proc/sys").join(name);
    fs::write(&path, value).map_err(NodeError::file("write", &path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_enforcers_rules_are_taken_out_and_no_others() {
        let table = "-P INPUT ACCEPT\n\
            -N KUBE-ROUTER-INPUT\n\
            -N LIBVIRT\n\
            -A INPUT -m comment --comment \"kube-router netpol - 4IA\" -j KUBE-ROUTER-INPUT\n\
            -A INPUT -m comment --comment \"KUBE-ROUTER rule to ACCEPT\" -m mark --mark 0x2 -j ACCEPT\n\
            -A INPUT -i virbr0 -j LIBVIRT\n\
            -A KUBE-ROUTER-INPUT -s 10.0.0.0/8 -j RETURN\n";
        let removals: Vec<String> =
            removals(table).into_iter().map(|words| words.join("|")).collect();
        assert_eq!(
            removals,
            [
                "-D|INPUT|-m|comment|--comment|kube-router netpol - 4IA|-j|KUBE-ROUTER-INPUT",
                "-D|INPUT|-m|comment|--comment|KUBE-ROUTER rule to ACCEPT|-m|mark|--mark|0x2|-j|ACCEPT",
                "-F|KUBE-ROUTER-INPUT",
                "-X|KUBE-ROUTER-INPUT",
            ]
        );
    }
}
