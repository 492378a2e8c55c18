//! vault-proxy: the only way out of a sandbox.

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use platform_core::clock::{Clock, IdSource};
use platform_core::failure::Failure;
use platform_messaging::Broker;
use platform_messaging::topology::Queue;
use platform_runtime::clock::{SystemClock, SystemIds};
use platform_runtime::lifecycle::{Context, run};
use platform_runtime::settings::{
    self, BrokerSettings, DatabaseSettings, EgressSettings, EncryptionSettings, GatewaySettings,
    SandboxSettings,
};
use platform_sealing::EncryptionKeys;
use platform_storage::{Database, StorageError, secret};
use secrecy::ExposeSecret;
use vault_proxy::commands::{Desk, carry_out, reopen_all};
use vault_proxy::doors::{Doors, House};
use vault_proxy::gate::Gate;
use vault_proxy::model::Models;
use vault_proxy::model::forward::Gateway;
use vault_proxy::model::keys::SessionKeys;
use vault_proxy::model::ledger::{Books, Ledger};
use vault_proxy::model::prices::Prices;
use vault_proxy::proxy::{Background, Outside, Surroundings, SystemResolver, Upstream};
use vault_proxy::replicas::Replica;
use vault_proxy::secrets::platform::PlatformVariables;
use vault_proxy::secrets::refresh::Refresher;
use vault_proxy::secrets::rotate::{keep_fingerprints, rotate};
use vault_proxy::secrets::session::Loader;
use vault_proxy::secrets::witness::Record;

type Settings = (
    (DatabaseSettings, BrokerSettings),
    (GatewaySettings, SandboxSettings, EncryptionSettings, EgressSettings),
);

const PREFETCH: u16 = 32;
const CONCURRENCY: usize = 8;
const RETRY_PAUSE: Duration = Duration::from_secs(1);

#[derive(Parser)]
#[command(version, about = "The only way out of a sandbox")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Seals every stored secret under ENCRYPTION_KEY, reading those that lie under a key of ENCRYPTION_KEY_PREVIOUS.
    /// May be run again, and beside running services.
    RotateKeys,
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        None => run("vault-proxy", start),
        Some(Command::RotateKeys) => match rotate_keys() {
            Ok(code) => code,
            Err(error) => {
                eprintln!("vault-proxy: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

#[tokio::main(flavor = "current_thread")]
async fn rotate_keys() -> anyhow::Result<ExitCode> {
    let loaded = settings::load::<(DatabaseSettings, EncryptionSettings)>("vault-proxy")?;
    let (database, encryption) = loaded.settings;
    let database = Database::connect(database.url.expose_secret(), 1)?;
    let keys = EncryptionKeys::new(&encryption.key, &encryption.previous)?;
    let rotated = rotate(&database, &keys).await?;
    println!("{} secrets sealed anew under key {}", rotated.resealed, keys.current().id());
    if rotated.unreadable == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "{} secrets lie under keys that are not here, and stay as they are",
        rotated.unreadable
    );
    Ok(ExitCode::FAILURE)
}

async fn start(context: Context<Settings>) -> anyhow::Result<()> {
    raise_file_limit();
    let ((database, broker), (gateway, sandbox, encryption, egress)) = &context.settings;
    let database = Database::connect(database.url.expose_secret(), database.pool_size)?;
    let broker = Broker::connect(&broker.url, "vault-proxy").await?;
    broker.declare_topology().await?;
    let has_own_keys = gateway.virtual_keys;
    let gateway = Gateway::new(gateway.url.clone(), gateway.api_key.as_ref())?;
    let host = nix::unistd::gethostname().context("the machine's name cannot be read")?;
    let host = host.to_string_lossy().into_owned();
    let user = nix::unistd::geteuid().is_root().then_some(sandbox.user_id);
    report_health(&context, &broker, &database)?;

    let shutdown = context.shutdown.token();
    let (clock, ids): (Arc<dyn Clock>, Arc<dyn IdSource>) =
        (Arc::new(SystemClock), Arc::new(SystemIds));
    let keys = EncryptionKeys::new(&encryption.key, &encryption.previous)?;
    let platform = PlatformVariables::new(&egress.container);
    for warning in &platform.warnings {
        tracing::warn!("{warning}");
    }
    secret::check_keys(&database, &keys.ids(), SystemClock.now()).await?;
    with_patience(&context, || keep_fingerprints(&database, &keys, &platform, &SystemClock))
        .await?;

    let resolver = Arc::new(SystemResolver::new(egress.hosts_file.clone()));
    let outside = Arc::new(Outside::new(resolver, egress.extra_ca_file.as_deref())?);
    let upstream = || Upstream::new(outside.clone(), Background::until(shutdown.clone()));
    let refresher =
        || Refresher::new(database.clone(), keys.clone(), upstream(), clock.clone(), ids.clone());
    let loader =
        Loader::new(database.clone(), keys.clone(), platform, egress.package_hosts.clone());
    let loader = Arc::new(loader.with_refresher(refresher()));
    let record = Record::new(database.clone(), broker.clone(), ids.clone());
    context.tasks.spawn("decisions", record.clone().keep(shutdown.clone()));
    context.tasks.spawn("alarms", record.clone().tell_alarms(shutdown.clone()));
    let witness = Arc::new(record);

    let ledger: Arc<dyn Ledger> =
        Arc::new(Books::new(database.clone(), broker.clone(), ids.clone()));
    let session_keys =
        has_own_keys.then(|| Arc::new(SessionKeys::new(gateway.clone(), ledger.clone())));
    let models = Arc::new(Models {
        owners: Arc::new(database.clone()),
        prices: Arc::new(Prices::new(gateway.clone())),
        gateway,
        ledger,
        keys: session_keys.clone(),
        witness: witness.clone(),
        clock: clock.clone(),
        ids: ids.clone(),
        tasks: context.tasks.clone(),
    });
    let surroundings = Surroundings {
        rules: loader.clone(),
        witness,
        outside: outside.clone(),
        clock: clock.clone(),
        ids: ids.clone(),
    };
    let house = House { models, surroundings, keys: keys.clone() };
    let doors = Doors::new(house, user, context.tasks.clone(), shutdown.clone());
    let desk = Desk {
        doors: doors.clone(),
        database: database.clone(),
        keys: keys.clone(),
        loader,
        outside: outside.clone(),
        upstream: upstream(),
        refresher: refresher(),
        session_keys,
        clock: clock.clone(),
    };

    let name = format!("{}-{}", std::process::id(), SystemIds.uuid().simple());
    let replica = Replica::announce(&sandbox.data_dir, name)
        .context("this replica cannot leave its mark in the data directory")?;
    with_patience(&context, || reopen_all(&doors, &database, &host)).await?;
    if let Some(address) = egress.listen {
        let gate = Gate::listen(address, doors.clone(), database.clone())
            .with_context(|| format!("the gate cannot be opened at {address}"))?;
        context.tasks.spawn("gate", gate.keep(shutdown.clone()));
    }
    let keeping = replica.keep(doors, database, host, shutdown.clone());
    context.tasks.spawn("replicas", keeping);
    take_commands(&context, broker, desk);
    Ok(())
}

fn report_health(
    context: &Context<Settings>,
    broker: &Broker,
    database: &Database,
) -> anyhow::Result<()> {
    let checked = broker.clone();
    context.health.add("broker", move || {
        let outcome = checked.check().map_err(|error| error.to_string());
        async move { outcome }
    });
    let pinged = database.clone();
    context.health.add("database", move || {
        let database = pinged.clone();
        async move { database.ping().await.map_err(|error| error.to_string()) }
    });
    context.serve_health()?;
    Ok(())
}

fn take_commands(context: &Context<Settings>, broker: Broker, desk: Desk) {
    let (desk, shutdown) = (Arc::new(desk), context.shutdown.token());
    context.tasks.spawn("egress commands", async move {
        let handler = move |message| {
            let desk = desk.clone();
            async move { carry_out(&desk, &message).await }
        };
        broker.consume(Queue::EGRESS_COMMANDS, PREFETCH, CONCURRENCY, shutdown, handler).await;
    });
}

/// What fails for the moment only.
trait MayPass {
    fn may_pass(&self) -> bool;
}

impl MayPass for StorageError {
    fn may_pass(&self) -> bool {
        self.is_transient()
    }
}

/// Waits for the database as long as it takes: sandboxes that live have no other way out.
async fn with_patience<E, F>(
    context: &Context<Settings>,
    attempt: impl Fn() -> F,
) -> anyhow::Result<()>
where
    E: MayPass + std::error::Error + Send + Sync + 'static,
    F: Future<Output = Result<(), E>>,
{
    loop {
        match attempt().await {
            Ok(()) => return Ok(()),
            Err(error) if error.may_pass() => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "waiting for the database"
                );
            }
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = context.shutdown.requested() => return Ok(()),
            () = tokio::time::sleep(RETRY_PAUSE) => {}
        }
    }
}

/// Every connection of every sandbox is a file or two, and many systems begin with 1,024.
fn raise_file_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it is, and with it that of connections");
    }
}
