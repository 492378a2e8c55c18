//! The programs of the node that are in no Debian package: built from Go modules, once for each version.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::Cache;
use crate::command::{find, run};
use crate::failure::NodeError;

const KUBERNETES: &str = "1.34.4";
const AGENT_SANDBOX: &str = "0.5.6";
const KUBE_ROUTER: &str = "2.2.1";
/// Counts the changes to `go/kubernetes/*.go`, so that an older program is not taken for this one.
const KUBERNETES_EDITION: u32 = 1;

/// Folders in which the node's programs lie.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    /// The clone's folder of Go modules.
    modules: PathBuf,
    cache: Cache,
}

impl Programs {
    /// `crate_folder` is where this crate lies in the clone.
    pub(crate) fn new(crate_folder: &Path, cache: Cache) -> Self {
        Self { modules: crate_folder.join("go"), cache }
    }

    /// A folder with the parts of Kubernetes, each by its name.
    pub(crate) fn kubernetes(&self) -> Result<PathBuf, NodeError> {
        let name = format!("kubernetes-{KUBERNETES}-{KUBERNETES_EDITION}");
        let notice = format!("building Kubernetes {KUBERNETES}, for ten minutes or more …");
        self.cache.ensure(&name, &notice, |folder| {
            let (major, minor) = KUBERNETES.split_once('.').unwrap_or_default();
            let minor = minor.split_once('.').map_or(minor, |(minor, _)| minor);
            let version = "k8s.io/component-base/version";
            // Without these clients would take it for version 0.
            let flags = format!(
                "-X {version}.gitVersion=v{KUBERNETES} -X {version}.gitMajor={major} -X {version}.gitMinor={minor}"
            );
            self.build("kubernetes", ".", &folder.join("kubernetes"), &flags)?;
            let parts = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"];
            for part in parts.into_iter().chain(["kubelet", "kubectl", "volume-provisioner"]) {
                let link = folder.join(part);
                symlink("kubernetes", &link).map_err(NodeError::file("make", &link))?;
            }
            Ok(())
        })
    }

    /// kubectl, when it was built.
    pub(crate) fn kubectl(&self) -> Option<PathBuf> {
        let name = format!("kubernetes-{KUBERNETES}-{KUBERNETES_EDITION}");
        self.cache.has(&name).then(|| self.cache.path(&format!("test-node-{name}/kubectl")))
    }

    /// A folder with `agent-sandbox-controller` and its `crds/`.
    pub(crate) fn agent_sandbox(&self) -> Result<PathBuf, NodeError> {
        let notice = format!("building agent-sandbox {AGENT_SANDBOX}, for minutes …");
        self.cache.ensure(&format!("agent-sandbox-{AGENT_SANDBOX}"), &notice, |folder| {
            let module = "sigs.k8s.io/agent-sandbox";
            let program = format!("{module}/cmd/agent-sandbox-controller");
            self.build("agent-sandbox", &program, &folder.join("agent-sandbox-controller"), "")?;
            let source = ["list", "-m", "-f", "{{.Dir}}", module];
            let source = run(self.go("agent-sandbox")?.args(source))?;
            let definitions = Path::new(source.trim()).join("k8s/crds");
            run(Command::new("cp").arg("-r").arg(definitions).arg(folder.join("crds"))).map(drop)
        })
    }

    /// The program that enforces network policies.
    pub(crate) fn kube_router(&self) -> Result<PathBuf, NodeError> {
        let notice = format!("building kube-router {KUBE_ROUTER}, for minutes …");
        let folder =
            self.cache.ensure(&format!("kube-router-{KUBE_ROUTER}"), &notice, |folder| {
                let program = "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router";
                self.build("kube-router", program, &folder.join("kube-router"), "")
            })?;
        Ok(folder.join("kube-router"))
    }

    /// The first process of every pod, which only waits.
    pub(crate) fn pause(&self) -> Result<PathBuf, NodeError> {
        let folder =
            self.cache.ensure("pause-1", "building the pods' first process …", |folder| {
                self.build("pause", ".", &folder.join("pause"), "")
            })?;
        Ok(folder.join("pause"))
    }

    fn build(
        &self,
        module: &str,
        package: &str,
        program: &Path,
        link: &str,
    ) -> Result<(), NodeError> {
        let flags = format!("-s -w {link}");
        let mut go = self.go(module)?;
        run(go.args(["build", "-trimpath", "-ldflags", &flags, "-o"]).arg(program).arg(package))?;
        Ok(())
    }

    /// Go in a copy of the module's folder: it may want to add to `go.mod`, and the clone is not its to write.
    fn go(&self, module: &str) -> Result<Command, NodeError> {
        let Some(go) = find("go") else {
            let reason = "Go is missing, with which the node's programs are built (from 1.26)";
            return Err(NodeError::Unable(reason.to_owned()));
        };
        let workshop = self.cache.path(&format!("test-node-modules/{module}"));
        fs::create_dir_all(&workshop).map_err(NodeError::file("make", &workshop))?;
        let source = self.modules.join(module);
        run(Command::new("cp").arg("-rT").arg(&source).arg(&workshop))?;
        let mut command = Command::new(go);
        command
            .current_dir(workshop)
            .env("GOFLAGS", "-mod=mod -buildvcs=false")
            .env("GOTOOLCHAIN", "local")
            .env("GOWORK", "off")
            .env("CGO_ENABLED", "0");
        Ok(command)
    }
}
