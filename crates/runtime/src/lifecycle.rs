//! From the start of a process to its orderly end.

mod shutdown;
mod tasks;

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use tracing::{error, info, warn};

pub use shutdown::Shutdown;
pub use tasks::{TaskOutcome, Tasks};

use crate::health::{self, Health};
use crate::metrics::Metrics;
use crate::settings::{self, HttpSettings, LogSettings, Reader, Section, TelemetrySettings};
use crate::telemetry;

/// How long tasks may take to finish what they have in hand.
const GRACE: Duration = Duration::from_secs(20);
/// Waiting for the database and the broker is most of what a service does.
const WORKER_THREADS: usize = 2;
/// The blocking pool is for file access; tokio's default of 512 threads would be memory for nothing.
const BLOCKING_THREADS: usize = 16;

/// What a service is given at its start.
pub struct Context<S> {
    pub settings: S,
    pub http: HttpSettings,
    pub shutdown: Shutdown,
    pub tasks: Tasks,
    pub health: Health,
    pub metrics: Metrics,
}

impl<S> Context<S> {
    /// Serves `/healthz`, `/readyz` and `/metrics`, for a service that has no HTTP API of its own.
    pub fn serve_health(&self) -> std::io::Result<()> {
        let server = health::server(
            self.http,
            self.health.clone(),
            self.metrics.clone(),
            self.shutdown.token(),
        )?;
        self.tasks.spawn("health server", server);
        Ok(())
    }
}

/// Runs a service: settings → telemetry → `start` → until the shutdown → drain.
///
/// `start` connects to what the service needs, hands its loops to [`Context::tasks`], and returns. The process goes on until
/// SIGTERM or SIGINT, or until one of the tasks fails.
pub fn run<S, F, R, E>(service_name: &'static str, start: F) -> ExitCode
where
    S: Section,
    F: FnOnce(Context<S>) -> R,
    R: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    let loaded = match settings::load::<ServiceSettings<S>>(service_name) {
        Ok(loaded) => loaded,
        Err(invalid) => return refuse(service_name, &invalid.to_string()),
    };
    let settings = loaded.settings;
    // A second provider in the same process is an older one of the same kind: nothing to do.
    let _installed_before = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let telemetry = match telemetry::start(service_name, &settings.log, &settings.telemetry) {
        Ok(telemetry) => telemetry,
        Err(failure) => return refuse(service_name, &telemetry_fault(&failure)),
    };
    for warning in loaded.warnings {
        warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build();
    let code = match runtime {
        Ok(runtime) => runtime.block_on(serve(service_name, settings, start)),
        Err(failure) => refuse(service_name, &format!("no threads: {failure}")),
    };
    telemetry.finish();
    code
}

async fn serve<S, F, R, E>(service_name: &str, settings: ServiceSettings<S>, start: F) -> ExitCode
where
    F: FnOnce(Context<S>) -> R,
    R: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    let shutdown = Shutdown::new();
    let tasks = Tasks::new(shutdown.clone());
    if let Err(failure) = shutdown.listen_for_signals() {
        return refuse(service_name, &format!("signals cannot be received: {failure}"));
    }
    let context = Context {
        settings: settings.own,
        http: settings.http,
        health: Health::new(shutdown.token()),
        metrics: Metrics::default(),
        shutdown: shutdown.clone(),
        tasks: tasks.clone(),
    };
    info!(service = service_name, version = env!("CARGO_PKG_VERSION"), "starting");
    let started = tokio::select! {
        started = start(context) => started,
        () = shutdown.requested() => Ok(()),
    };
    if let Err(failure) = &started {
        // The alternate form of an anyhow error tells its sources too.
        error!(failure = format!("{failure:#}"), "the service could not start");
        shutdown.request();
    }
    shutdown.requested().await;
    info!("ending");
    let unfinished = tasks.drain(GRACE).await;
    if !unfinished.is_empty() {
        warn!(tasks = unfinished.join(", "), "some tasks did not finish in time");
    }
    info!("ended");
    if started.is_err() || tasks.any_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// For faults that come before there are logs.
fn refuse(service_name: &str, fault: &str) -> ExitCode {
    eprintln!("{service_name}: {fault}");
    ExitCode::FAILURE
}

fn telemetry_fault(failure: &telemetry::StartTelemetryError) -> String {
    let source = std::error::Error::source(failure);
    source.map_or_else(|| failure.to_string(), |source| format!("{failure}: {source}"))
}

/// What every service reads, and what it asks for itself.
struct ServiceSettings<S> {
    own: S,
    http: HttpSettings,
    log: LogSettings,
    telemetry: TelemetrySettings,
}

impl<S: Section> Section for ServiceSettings<S> {
    fn read(reader: &mut Reader) -> Option<Self> {
        let own = S::read(reader);
        let http = HttpSettings::read(reader);
        let log = LogSettings::read(reader);
        let telemetry = TelemetrySettings::read(reader);
        Some(Self { own: own?, http: http?, log: log?, telemetry: telemetry? })
    }
}
