//! The node that tests share, and a backend with a team of its own there.

use std::env;
use std::net::{IpAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use platform_core::environment::Resources;
use platform_core::id::{EnvironmentId, SandboxId, SessionId, TeamId};
use platform_runtime::lifecycle::{Shutdown, Tasks};
use platform_runtime::settings::{ImagePullPolicy, KubernetesSettings};
use sandbox_service::backend::kubernetes::KubernetesBackend;
use sandbox_service::backend::{SandboxBackend, StartOrder};
use sandbox_service::token;
use serde_json::Value;
use uuid::Uuid;

const PREFIX: &str = "lap-test-";
/// Each of these waits is for an event; this long only when it never comes.
const PATIENCE: Duration = Duration::from_secs(90);

/// A backend, and a team that nobody else has. Its namespace goes with it.
pub struct Node {
    pub backend: KubernetesBackend,
    pub team: TeamId,
    pub environment: EnvironmentId,
    /// Where pods of this team may go.
    pub link: TcpListener,
    kubeconfig: PathBuf,
    shutdown: Shutdown,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shutdown.request();
        let _gone = self.kubectl(&["delete", "namespace", &self.namespace(), "--wait=false"]);
    }
}

impl Node {
    /// `None`, and a word about it, when there is no node.
    pub async fn find() -> Option<Self> {
        let Some(kubeconfig) = env::var_os("LAP_TEST_NODE").map(PathBuf::from) else {
            eprintln!(
                "not run: there is no node. To run it: eval \"$(scripts/test-node up)\", then this test again"
            );
            return None;
        };
        let config = Kubeconfig::read_from(&kubeconfig).unwrap();
        let options = KubeConfigOptions::default();
        let way = Config::from_custom_kubeconfig(config, &options).await.unwrap();
        let address: IpAddr = variable("LAP_NODE_ADDRESS").parse().unwrap();
        let link = TcpListener::bind((address, 0)).unwrap();
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(shutdown.clone());
        let token = shutdown.token();
        let backend = KubernetesBackend::connect(way, settings(&link), &tasks, &token).await;
        let backend = backend.unwrap();
        let team = TeamId::from_uuid(Uuid::now_v7());
        let environment = EnvironmentId::from_uuid(Uuid::now_v7());
        Some(Self { backend, team, environment, link, kubeconfig, shutdown })
    }

    pub fn namespace(&self) -> String {
        format!("{PREFIX}{}", self.team.uuid().simple())
    }

    /// A new run of the session, or of a new one.
    pub fn order(&self, session: Option<SessionId>) -> StartOrder {
        let manifest = include_str!("../../../../harnesses/opencode/harness.toml");
        StartOrder {
            sandbox: SandboxId::from_uuid(Uuid::now_v7()),
            team: Some(self.team),
            environment: self.environment,
            session: Some(session.unwrap_or_else(|| SessionId::from_uuid(Uuid::now_v7()))),
            image: None,
            resources: Resources { memory_mib: 256, ..Resources::default() },
            warm_pool_size: 0,
            harness: toml::from_str(manifest).unwrap(),
            token: token::mint(),
        }
    }

    /// Starts what the order says, and waits until its containers run.
    pub async fn start(&self, order: &StartOrder) -> Pod {
        self.backend.start(order).await.unwrap();
        let pod = self.pod(order.session.unwrap());
        self.wait(&format!("pod/{}", pod.name), "jsonpath={.status.phase}=Running");
        pod
    }

    /// The pod of a session that never shared one.
    pub fn pod(&self, session: SessionId) -> Pod {
        let name = format!("s-{}", session.uuid().simple());
        let pod = self.get(&format!("pod/{name}"));
        Pod { name, uid: pod["metadata"]["uid"].as_str().unwrap().to_owned() }
    }

    pub fn get(&self, object: &str) -> Value {
        serde_json::from_str(&self.run(&["get", object, "--output=json"])).unwrap()
    }

    pub fn exists(&self, object: &str) -> bool {
        self.kubectl(&["get", object, "--namespace", &self.namespace()]).is_ok()
    }

    pub fn wait(&self, object: &str, condition: &str) {
        let within = format!("--timeout={}s", PATIENCE.as_secs());
        self.run(&["wait", object, &format!("--for={condition}"), &within]);
    }

    /// Runs a command in the harness's room: what it says, or what is wrong with it.
    pub fn exec(&self, pod: &str, command: &[&str]) -> Result<String, String> {
        let namespace = self.namespace();
        let room = ["exec", pod, "--namespace", &namespace, "--container", "harness", "--"];
        self.kubectl(&[&room, command].concat())
    }

    /// `kubectl` in the team's namespace.
    pub fn run(&self, arguments: &[&str]) -> String {
        let namespace = self.namespace();
        self.kubectl(&[arguments, &["--namespace", &namespace]].concat()).unwrap()
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        let outcome = Command::new(variable("LAP_TEST_NODE_KUBECTL"))
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(arguments)
            .output()
            .unwrap();
        if outcome.status.success() {
            Ok(String::from_utf8_lossy(&outcome.stdout).into_owned())
        } else {
            Err(format!("{arguments:?}: {}", String::from_utf8_lossy(&outcome.stderr)))
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    pub name: String,
    pub uid: String,
}

/// What must happen, with an end.
pub async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.unwrap()
}

fn settings(link: &TcpListener) -> KubernetesSettings {
    let link = link.local_addr().unwrap();
    KubernetesSettings {
        link_listen: link,
        link_url: format!("ws://{link}"),
        // Nobody answers there: the way out is another test's.
        egress_address: (link.ip(), 9).into(),
        link_peer: None,
        egress_peer: None,
        namespace_prefix: PREFIX.to_owned(),
        agent_image: variable("LAP_AGENT_IMAGE"),
        harness_images: [("opencode".to_owned(), variable("LAP_HARNESS_IMAGE"))].into(),
        image_pull_policy: ImagePullPolicy::Never,
        storage_class: None,
        workspace_gib: 1,
        runtime_class: None,
    }
}

fn variable(name: &str) -> String {
    let value =
        env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: see scripts/test-node"));
    value.into_string().unwrap()
}
