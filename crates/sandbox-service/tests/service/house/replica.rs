//! Replicas of the service: in this process, and as processes of their own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use platform_messaging::Broker;
use platform_runtime::clock::{SystemClock, SystemIds};
use platform_runtime::lifecycle::{Shutdown, Tasks};
use platform_storage::Database;
use sandbox_service::admission::AdmissionSettings;
use sandbox_service::backend::local::{LocalBackend, LocalSettings};
use sandbox_service::figures::Figures;
use sandbox_service::link::replica::Replica;
use sandbox_service::loops;
use sandbox_service::manifests::Manifests;
use sandbox_service::service::{Parts, Service};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use uuid::Uuid;

use super::Limits;

const MANIFEST: &str = "name = \"fake\"\nversion = \"1\"\ndescription = \"\"\nprotocol = \"acp\"\ncommand = [\"fake\"]\ncan_start_warm = true\n";

/// A replica in this process.
pub struct Running {
    pub service: Arc<Service>,
    shutdown: Shutdown,
    tasks: Tasks,
}

impl Running {
    /// Ends it as it would be upgraded.
    pub async fn end(self) {
        self.shutdown.request();
        let Self { service, tasks, .. } = self;
        assert_eq!(tasks.drain(Duration::from_secs(20)).await, Vec::<&str>::new());
        // With the last of it the replica counts as gone.
        drop(service);
    }
}

/// A replica as a process of its own.
pub struct Process {
    child: Child,
    pub(super) pid: u32,
}

impl Process {
    pub(super) fn start(folder: &TempDir, database: &str, broker: &str) -> Self {
        let inside = |name: &str| folder.path().join(name);
        let child = Command::new(env!("CARGO_BIN_EXE_sandbox-service"))
            .env("DATABASE_URL", database)
            .env("AMQP_URL", broker)
            .env("SANDBOX_BACKEND", "local")
            .env("LAP__HTTP__PORT", "0")
            .env("LAP__LOG__FILTER", "warn")
            .env("LAP__SANDBOX__DATA_DIR", inside("data"))
            .env("LAP__SANDBOX__AGENT_BINARY", inside("agent"))
            .env("LAP__SANDBOX__HARNESS_DIR", inside("manifests"))
            .env("LAP__SANDBOX__HARNESS_INSTALL_DIR", inside("installs"))
            .env("LAP__SANDBOX__EXPECTED_MEMORY_MIB", "1")
            .env("LAP__SANDBOX__RESERVED_MEMORY_MIB", "0")
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let pid = child.id().unwrap();
        Self { child, pid }
    }

    pub fn signal(&self, signal: Signal) {
        let pid = nix::unistd::Pid::from_raw(self.pid.try_into().unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    pub async fn exit(mut self) -> ExitStatus {
        self.child.wait().await.unwrap()
    }
}

/// What `gethostname` says, so that replicas in this process and in others are on the same machine.
pub fn host() -> String {
    nix::unistd::gethostname().unwrap().into_string().unwrap()
}

pub(super) fn start_service(
    folder: &TempDir,
    limits: Limits,
    database: &Database,
    broker: &Broker,
) -> Running {
    let settings = LocalSettings {
        data: folder.path().join("data"),
        agent_binary: folder.path().join("agent"),
        harness_installs: folder.path().join("installs"),
        launcher: PathBuf::from(env!("CARGO_BIN_EXE_sandbox-service")),
        user: nix::unistd::geteuid().is_root().then_some(64_999),
    };
    let backend = LocalBackend::open(settings).unwrap();
    let shutdown = Shutdown::new();
    let tasks = Tasks::new(shutdown.clone());
    let (layout, unique) = (backend.layout(), Uuid::now_v7().simple().to_string());
    let replica = Replica::announce(layout.links(), layout.replicas(), &unique).unwrap();
    let listener = replica.listen(backend.user()).unwrap();
    let service = Service::new(Parts {
        database: database.clone(),
        broker: broker.clone(),
        backend: Arc::new(backend),
        clock: Arc::new(SystemClock),
        ids: Arc::new(SystemIds),
        host: host(),
        replica,
        manifests: Manifests::in_folder(folder.path().join("manifests")),
        admission: AdmissionSettings {
            expected_memory_mib: 1,
            reserved_memory_mib: 0,
            max_running: limits.max_running,
            parallel_starts: 2,
        },
        leftover_grace: Duration::from_mins(5),
        figures: Figures::default(),
        tasks: tasks.clone(),
        shutdown: shutdown.token(),
    });
    loops::spawn_all(&service, listener, None);
    Running { service, shutdown, tasks }
}

pub(super) fn make_files(folder: &TempDir) {
    let agent = folder.path().join("agent");
    fs::write(&agent, "#!/bin/sh\ntrap 'exit 0' TERM\nsleep 600 & wait\n").unwrap();
    fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(folder.path().join("installs/fake-1")).unwrap();
    fs::create_dir_all(folder.path().join("manifests/fake")).unwrap();
    fs::write(folder.path().join("manifests/fake/harness.toml"), MANIFEST).unwrap();
}
