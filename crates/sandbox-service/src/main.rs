//! sandbox-service: owns sandboxes and the links to them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use platform_core::clock::IdSource;
use platform_messaging::Broker;
use platform_runtime::clock::{SystemClock, SystemIds};
use platform_runtime::lifecycle::{Context, run};
use platform_runtime::settings::{
    BrokerSettings, DatabaseSettings, SandboxBackendName, SandboxSettings, SnapshotSettings,
};
use platform_storage::Database;
use sandbox_service::admission::{AdmissionSettings, capacity};
use sandbox_service::backend::SandboxBackend;
use sandbox_service::backend::local::{LocalBackend, LocalSettings, launcher, network};
use sandbox_service::figures::Figures;
use sandbox_service::link::replica::Replica;
use sandbox_service::loops;
use sandbox_service::manifests::Manifests;
use sandbox_service::service::{Parts, Service};
use sandbox_service::snapshots::SnapshotLimits;

use secrecy::ExposeSecret;

type Settings = ((DatabaseSettings, BrokerSettings), (SandboxSettings, SnapshotSettings));

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [word, plan] if word == "launch" => launch(Path::new(plan)),
        [word] if word == "probe-network" => probe_network(),
        _ => run("sandbox-service", start),
    }
}

/// The way in for the processes of the local backend; see [`launcher`].
fn launch(plan: &Path) -> ExitCode {
    let error = anyhow::Error::from(launcher::launch(plan));
    eprintln!("{error:#}");
    ExitCode::FAILURE
}

/// Whether a room's network can be made here; see [`network::Networks::probe`].
fn probe_network() -> ExitCode {
    match network::enter() {
        Ok(_outside) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{:#}", anyhow::Error::from(error));
            ExitCode::FAILURE
        }
    }
}

async fn start(context: Context<Settings>) -> anyhow::Result<()> {
    let ((database, broker), (sandbox, snapshots)) = &context.settings;
    let backend = match sandbox.backend {
        SandboxBackendName::Local => open_local(sandbox)?
            .with_snapshot_limits(limits(*snapshots))
            .with_root_certificates(&sandbox.root_certificates),
        SandboxBackendName::Kubernetes => {
            bail!("SANDBOX_BACKEND=kubernetes is not built into this version; use local")
        }
    };
    let figures = Figures::register(&context.metrics, &backend.limits());
    tracing::info!(limits = %backend.limits(), "sandbox limits");
    let database = Database::connect(database.url.expose_secret(), database.pool_size)?;
    let broker = Broker::connect(&broker.url, "sandbox-service").await?;
    broker.declare_topology().await?;
    let host = nix::unistd::gethostname().context("the machine's name cannot be read")?;
    let unique = SystemIds.uuid().simple().to_string();
    let layout = backend.layout();
    let replica = Replica::announce(layout.links(), layout.replicas(), &unique)
        .context("this replica cannot leave its mark in the data directory")?;
    let listener = replica.listen(backend.user()).context("links cannot be listened for")?;
    replica.remove_dead().await.context("the folder of links cannot be read")?;

    let service = Service::new(Parts {
        database,
        broker,
        backend: Arc::new(backend),
        clock: Arc::new(SystemClock),
        ids: Arc::new(SystemIds),
        host: host.to_string_lossy().into_owned(),
        replica,
        manifests: Manifests::in_folder(sandbox.harness_dir.clone()),
        admission: AdmissionSettings {
            expected_memory_mib: sandbox.expected_memory_mib,
            reserved_memory_mib: sandbox.reserved_memory_mib,
            max_running: sandbox.max_running,
            parallel_starts: capacity::processors(),
        },
        leftover_grace: sandbox.leftover_grace,
        figures,
        tasks: context.tasks.clone(),
        shutdown: context.shutdown.token(),
    });
    add_health_checks(&context, &service);
    context.serve_health()?;
    loops::spawn_all(&service, listener);
    Ok(())
}

fn open_local(settings: &SandboxSettings) -> anyhow::Result<LocalBackend> {
    let absolute = |path: &PathBuf| {
        std::path::absolute(path).with_context(|| format!("{} is no path", path.display()))
    };
    let is_root = nix::unistd::geteuid().is_root();
    let local = LocalSettings {
        data: absolute(&settings.data_dir)?,
        agent_binary: absolute(&settings.agent_binary)?,
        harness_installs: absolute(&settings.harness_install_dir)?,
        // The program that runs, even if an upgrade has replaced its file.
        launcher: PathBuf::from("/proc/self/exe"),
        user: is_root.then_some(settings.user_id),
    };
    if !Path::new("/usr/bin/bwrap").exists() {
        bail!("bubblewrap is missing; install it: apt-get install bubblewrap");
    }
    if !local.agent_binary.exists() {
        bail!("there is no sandbox-agent at {}", local.agent_binary.display());
    }
    LocalBackend::open(local).context("the local backend cannot be opened")
}

fn limits(settings: SnapshotSettings) -> SnapshotLimits {
    SnapshotLimits {
        within: Duration::from_secs(settings.within_seconds),
        most_files: settings.most_files,
        most_bytes: settings.most_mib << 20,
        kept_bytes: settings.kept_mib << 20,
    }
}

fn add_health_checks(context: &Context<Settings>, service: &Arc<Service>) {
    let checked = service.broker().clone();
    context.health.add("broker", move || {
        let outcome = checked.check().map_err(|error| error.to_string());
        async move { outcome }
    });
    let pinged = service.database().clone();
    context.health.add("database", move || {
        let database = pinged.clone();
        async move { database.ping().await.map_err(|error| error.to_string()) }
    });
}
