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
    BrokerSettings, DatabaseSettings, KubernetesSettings, Reader, SandboxBackendName,
    SandboxSettings, Section, SnapshotSettings,
};
use platform_storage::Database;
use sandbox_service::admission::{AdmissionSettings, capacity};
use sandbox_service::backend::SandboxBackend;
use sandbox_service::backend::kubernetes::{HOST, KubernetesBackend};
use sandbox_service::backend::local::layout::Layout;
use sandbox_service::backend::local::{
    LocalBackend, LocalSettings, launcher, make_replicas_folders, network,
};
use sandbox_service::figures::Figures;
use sandbox_service::link::replica::Replica;
use sandbox_service::loops;
use sandbox_service::manifests::Manifests;
use sandbox_service::service::{Parts, Service};
use sandbox_service::snapshots::SnapshotLimits;
use secrecy::ExposeSecret;
use tokio::net::TcpListener;

/// How many pods may be brought up at once: each takes some twenty calls of the API server.
const PARALLEL_STARTS: usize = 32;

type Settings = ((DatabaseSettings, BrokerSettings), (BackendSettings, SnapshotSettings));

struct BackendSettings {
    sandbox: SandboxSettings,
    /// Only where sandboxes are pods.
    kubernetes: Option<KubernetesSettings>,
}

impl Section for BackendSettings {
    fn read(reader: &mut Reader) -> Option<Self> {
        let sandbox = SandboxSettings::read(reader)?;
        let kubernetes = match sandbox.backend {
            SandboxBackendName::Local => None,
            SandboxBackendName::Kubernetes => Some(KubernetesSettings::read(reader)?),
        };
        Some(Self { sandbox, kubernetes })
    }
}

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
    let ((database, broker), (settings, snapshots)) = &context.settings;
    let sandbox = &settings.sandbox;
    let opened = match &settings.kubernetes {
        None => open_local(sandbox, *snapshots)?,
        Some(kubernetes) => open_kubernetes(&context, sandbox, kubernetes).await?,
    };
    let Opened { backend, layout, user, host, admission, of_pods } = opened;
    let figures = Figures::register(&context.metrics, &backend.limits());
    tracing::info!(limits = %backend.limits(), "sandbox limits");
    let database = Database::connect(database.url.expose_secret(), database.pool_size)?;
    let broker = Broker::connect(&broker.url, "sandbox-service").await?;
    broker.declare_topology().await?;
    let unique = SystemIds.uuid().simple().to_string();
    let replica = Replica::announce(layout.links(), layout.replicas(), &unique)
        .context("this replica cannot leave its mark in the data directory")?;
    let listener = replica.listen(user).context("links cannot be listened for")?;
    replica.remove_dead().await.context("the folder of links cannot be read")?;

    let service = Service::new(Parts {
        database,
        broker,
        backend,
        clock: Arc::new(SystemClock),
        ids: Arc::new(SystemIds),
        host,
        replica,
        manifests: Manifests::in_folder(sandbox.harness_dir.clone()),
        admission,
        leftover_grace: sandbox.leftover_grace,
        figures,
        tasks: context.tasks.clone(),
        shutdown: context.shutdown.token(),
    });
    add_health_checks(&context, &service);
    context.serve_health()?;
    loops::spawn_all(&service, listener, of_pods);
    Ok(())
}

/// What differs from backend to backend.
struct Opened {
    backend: Arc<dyn SandboxBackend>,
    layout: Layout,
    user: Option<u32>,
    /// Whose queue and sandboxes this replica looks after.
    host: String,
    admission: AdmissionSettings,
    of_pods: Option<TcpListener>,
}

fn open_local(settings: &SandboxSettings, snapshots: SnapshotSettings) -> anyhow::Result<Opened> {
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
    let backend = LocalBackend::open(local)
        .context("the local backend cannot be opened")?
        .with_snapshot_limits(limits(snapshots))
        .with_root_certificates(&settings.root_certificates);
    let host = nix::unistd::gethostname().context("the machine's name cannot be read")?;
    Ok(Opened {
        layout: backend.layout().clone(),
        user: backend.user(),
        backend: Arc::new(backend),
        host: host.to_string_lossy().into_owned(),
        admission: AdmissionSettings {
            expected_memory_mib: settings.expected_memory_mib,
            reserved_memory_mib: settings.reserved_memory_mib,
            max_running: settings.max_running,
            parallel_starts: capacity::processors(),
        },
        of_pods: None,
    })
}

async fn open_kubernetes(
    context: &Context<Settings>,
    settings: &SandboxSettings,
    kubernetes: &KubernetesSettings,
) -> anyhow::Result<Opened> {
    let layout = Layout::new(&settings.data_dir);
    make_replicas_folders(&layout).context("the data directory cannot be made")?;
    let shutdown = context.shutdown.token();
    let way = kube::Config::infer().await.context("there is no way to a cluster")?;
    let backend =
        KubernetesBackend::connect(way, kubernetes.clone(), &context.tasks, &shutdown).await;
    let backend = Arc::new(backend.context("the cluster cannot be used")?);
    let pinged = backend.clone();
    context.health.add("kubernetes", move || {
        let backend = pinged.clone();
        async move { backend.ping().await.map_err(|error| error.to_string()) }
    });
    let of_pods = TcpListener::bind(kubernetes.link_listen).await;
    let of_pods = of_pods.with_context(|| {
        format!("the links of pods cannot be listened for at {}", kubernetes.link_listen)
    })?;
    Ok(Opened {
        backend,
        layout,
        user: None,
        host: HOST.to_owned(),
        // The cluster knows what its machines have: a pod waits there for its place.
        admission: AdmissionSettings {
            expected_memory_mib: 0,
            reserved_memory_mib: 0,
            max_running: settings.max_running,
            parallel_starts: PARALLEL_STARTS,
        },
        of_pods: Some(of_pods),
    })
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
