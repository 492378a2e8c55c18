//! The whole node: started in order, filled, and stopped without a trace.

use std::path::PathBuf;
use std::time::Duration;

use crate::access;
use crate::address::{ETCD_PORT, NODE_NAME};
use crate::cache::Cache;
use crate::command::wait_until;
use crate::directory::NodeDirectory;
use crate::failure::NodeError;
use crate::images::Images;
use crate::kubectl::Kubectl;
use crate::machine;
use crate::network;
use crate::parts;
use crate::process::{Part, Process};
use crate::programs::Programs;
use crate::progress::Progress;
use crate::remains;

/// How long one part may take until it is ready, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_mins(2);

/// A node in a folder of its own. There can be one on a machine, because of its addresses.
#[derive(Debug)]
pub struct Node {
    directory: NodeDirectory,
    programs: Programs,
    cache: Cache,
    progress: Progress,
    root: PathBuf,
    binaries: PathBuf,
}

/// Where things are.
#[derive(Debug)]
pub struct Places {
    /// The clone.
    pub root: PathBuf,
    /// Where the clone's programs are built.
    pub binaries: PathBuf,
    /// What is kept for every clone.
    pub cache: PathBuf,
}

impl Node {
    #[must_use]
    pub fn new(directory: NodeDirectory, places: Places, progress: Progress) -> Self {
        let cache = Cache::new(places.cache, progress);
        let programs = Programs::new(&places.root.join("crates/test-node"), cache.clone());
        let (root, binaries) = (places.root, places.binaries);
        Self { directory, programs, cache, progress, root, binaries }
    }

    /// Starts what does not run, and waits until pods can be started and policies are enforced.
    pub fn up(&self) -> Result<(), NodeError> {
        machine::check()?;
        let _turn = self.directory.lock()?;
        let kubernetes = self.programs.kubernetes()?;
        self.progress.step("starting the node …");
        network::ensure(&self.directory)?;
        access::ensure(&self.directory)?;
        self.start(&parts::containerd(&self.directory)?, || {
            parts::containerd_is_ready(&self.directory)
        })?;
        self.images().load_pause()?;
        self.start(&parts::etcd(&self.directory)?, || parts::listens(ETCD_PORT))?;
        let kubectl = self.kubectl()?;
        self.start(&parts::api_server(&self.directory, &kubernetes), || {
            let ready = kubectl.run(&["get", "--raw", "/readyz"]);
            ready.map(drop).map_err(|error| error.to_string())
        })?;
        self.start(&parts::controller_manager(&self.directory, &kubernetes), || {
            parts::listens(parts::CONTROLLER_MANAGER_PORT)
        })?;
        self.start(&parts::scheduler(&self.directory, &kubernetes), || {
            parts::listens(parts::SCHEDULER_PORT)
        })?;
        self.start(&parts::kubelet(&self.directory, &kubernetes)?, || {
            node_is_ready(&kubectl).map_err(|error| error.to_string())
        })?;
        self.progress.step("the node is ready");
        self.start(&parts::volume_provisioner(&self.directory, &kubernetes)?, || Ok(()))?;
        let agent_sandbox = self.programs.agent_sandbox()?;
        parts::define_sandboxes(&kubectl, &agent_sandbox.join("crds"))?;
        self.start(&parts::agent_sandbox(&self.directory, &agent_sandbox), || {
            parts::listens(parts::AGENT_SANDBOX_PORT)
        })?;
        self.images().load_all()?;
        self.start_enforcer()?;
        wait_for_pods(&kubectl)?;
        self.progress.step("everything runs");
        Ok(())
    }

    /// Makes everything that is kept for later starts.
    pub fn build(&self) -> Result<(), NodeError> {
        self.programs.kubernetes()?;
        self.programs.agent_sandbox()?;
        self.programs.kube_router()?;
        self.programs.pause()?;
        self.images().fetch_base().map(drop)
    }

    /// Makes the images again and loads those that have changed.
    pub fn images_again(&self) -> Result<(), NodeError> {
        let _turn = self.directory.lock()?;
        self.images().load_all()
    }

    /// Stops everything and takes away what was made on the machine; with `purge` also what the node knew.
    pub fn down(&self, purge: bool) -> Result<(), NodeError> {
        let _turn = self.directory.lock()?;
        self.progress.step("stopping the node …");
        // The other way round, and containerd last: what it runs is taken down with its help.
        for name in parts::NAMES.iter().rev().filter(|name| **name != "containerd") {
            self.stop(name);
        }
        remains::end_containers(&self.directory);
        self.stop("containerd");
        remains::end_shims(&self.directory);
        remains::unmount(&self.directory)?;
        remains::remove_control_groups();
        remains::remove_strays(&self.directory);
        network::remove(&self.directory);
        if purge {
            self.directory.purge()?;
        }
        Ok(())
    }

    /// Each part, with its process if it runs.
    #[must_use]
    pub fn status(&self) -> Vec<(&'static str, Option<i32>)> {
        let pid = |name| Process::recorded(&self.directory, name).map(Process::pid);
        parts::NAMES.iter().map(|&name| (name, pid(name))).collect()
    }

    /// What talks to the node, once its programs are built.
    pub fn kubectl(&self) -> Result<Kubectl, NodeError> {
        let program = self.programs.kubectl();
        let program = program.ok_or_else(|| NodeError::Unable("no node was ever up".to_owned()))?;
        Ok(Kubectl::new(program, self.directory.kubeconfig()))
    }

    fn images(&self) -> Images<'_> {
        Images {
            directory: &self.directory,
            cache: &self.cache,
            programs: &self.programs,
            progress: self.progress,
            root: &self.root,
            binaries: &self.binaries,
        }
    }

    fn start(
        &self,
        part: &Part,
        is_ready: impl FnMut() -> Result<(), String>,
    ) -> Result<(), NodeError> {
        part.ensure(&self.directory)?;
        part.wait(&self.directory, PATIENCE, is_ready)
    }

    /// What an earlier enforcer left would look as if this one worked.
    fn start_enforcer(&self) -> Result<(), NodeError> {
        let enforcer = parts::enforcer(&self.directory, self.programs.kube_router()?);
        if Process::recorded(&self.directory, enforcer.name).is_none() {
            network::remove_rules();
        }
        self.start(&enforcer, network::is_enforced)
    }

    fn stop(&self, name: &str) {
        if let Some(process) = Process::recorded(&self.directory, name) {
            process.stop();
        }
        let _ = std::fs::remove_file(self.directory.pid_file(name));
    }
}

/// Pods are refused until their name space has an account, and start only once the node has their range.
fn wait_for_pods(kubectl: &Kubectl) -> Result<(), NodeError> {
    wait_until("the node takes pods", PATIENCE, || {
        let accounts = kubectl.run(&["get", "serviceaccount", "default"]);
        accounts.map_err(|error| error.to_string())?;
        let range = kubectl.run(&["get", "node", NODE_NAME, "-o", "jsonpath={.spec.podCIDR}"]);
        if range.map_err(|error| error.to_string())?.is_empty() {
            return Err("it has no range of addresses".to_owned());
        }
        Ok(())
    })
}

fn node_is_ready(kubectl: &Kubectl) -> Result<(), NodeError> {
    let condition = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
    let status = kubectl.run(&["get", "node", NODE_NAME, "-o", condition])?;
    if status == "True" {
        return Ok(());
    }
    Err(NodeError::Unable(format!("Ready is {status:?}")))
}
