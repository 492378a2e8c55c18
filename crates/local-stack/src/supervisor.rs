//! Starts and stops processes by their pid files.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};

use crate::data_directory::DataDirectory;
use crate::failure::StackError;
use crate::process::{Part, PidFiles, Prober, ProcessIdentity, ProcessName, ProcessSpecification};

const READINESS_INTERVAL: Duration = Duration::from_millis(50);
const END_INTERVAL: Duration = Duration::from_millis(20);
/// How long a process may take to end by itself.
const GRACE: Duration = Duration::from_secs(30);
/// After `SIGKILL` only the kernel's own work remains.
const KERNEL: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Supervisor {
    data: DataDirectory,
    pid_files: PidFiles,
    prober: Prober,
}

impl Supervisor {
    pub(crate) fn new(data: DataDirectory) -> Result<Self, StackError> {
        let pid_files = PidFiles::in_directory(data.run_directory());
        Ok(Self { data, pid_files, prober: Prober::new()? })
    }

    pub(crate) fn pid_files(&self) -> &PidFiles {
        &self.pid_files
    }

    pub(crate) fn is_anything_alive(&self) -> bool {
        self.pid_files.names().into_iter().any(|name| self.pid_files.alive(name).is_some())
    }

    /// Starts the process unless it runs, and waits until it is ready. Answers whether it was started.
    pub(crate) async fn ensure(&self, wanted: &ProcessSpecification) -> Result<bool, StackError> {
        let running = self.pid_files.alive(wanted.name);
        let identity = match running {
            Some(identity) => identity,
            None => self.spawn(wanted)?,
        };
        self.wait_until_ready(wanted, identity).await?;
        Ok(running.is_none())
    }

    /// Starts the process and leaves it to itself.
    pub(crate) fn launch(&self, wanted: &ProcessSpecification) -> Result<(), StackError> {
        self.spawn(wanted).map(drop)
    }

    fn spawn(&self, wanted: &ProcessSpecification) -> Result<ProcessIdentity, StackError> {
        let identity = wanted.spawn(&self.data.log(&wanted.name))?;
        if let Err(error) = self.pid_files.record(wanted.name, identity) {
            identity.kill_group();
            return Err(error);
        }
        Ok(identity)
    }

    async fn wait_until_ready(
        &self,
        wanted: &ProcessSpecification,
        identity: ProcessIdentity,
    ) -> Result<(), StackError> {
        let process = wanted.name;
        let log = self.data.log(&process);
        let deadline = Instant::now() + wanted.patience;
        loop {
            if !identity.is_alive() {
                let tail = DataDirectory::tail(&log, 20);
                return Err(StackError::EndedWhileStarting { process, log, tail });
            }
            if self.prober.is_ready(&wanted.readiness).await {
                return Ok(());
            }
            if Instant::now() > deadline {
                let tail = DataDirectory::tail(&log, 20);
                let patience = wanted.patience;
                return Err(StackError::NotReady { process, patience, log, tail });
            }
            sleep(READINESS_INTERVAL).await;
        }
    }

    /// Asks the process to end, waits, and ends it by force when it does not.
    pub(crate) async fn stop(&self, name: ProcessName) {
        if let Some(identity) = self.pid_files.alive(name) {
            identity.signal(stop_signal(name.part()));
            if !ended_within(identity, GRACE).await {
                identity.kill_group();
                ended_within(identity, KERNEL).await;
            }
        }
        self.pid_files.forget(name);
    }

    /// Ends processes and their groups at once, without a word, and blocks for the moment that the kernel
    /// needs: for `drop` and for people in a hurry.
    pub(crate) fn kill(&self, names: impl IntoIterator<Item = ProcessName>) {
        let names: Vec<ProcessName> = names.into_iter().collect();
        let doomed = names.iter().filter_map(|&name| self.pid_files.alive(name));
        let doomed: Vec<ProcessIdentity> = doomed.collect();
        for identity in &doomed {
            identity.kill_group();
        }
        let deadline = std::time::Instant::now() + KERNEL;
        while doomed.iter().any(|identity| identity.is_alive())
            && std::time::Instant::now() < deadline
        {
            std::thread::sleep(END_INTERVAL);
        }
        for name in names {
            self.pid_files.forget(name);
        }
    }

    pub(crate) fn signal(&self, name: ProcessName, signal: Signal) -> Result<(), StackError> {
        let identity = self.pid_files.alive(name).ok_or(StackError::NotRunning(name))?;
        identity.signal(signal);
        Ok(())
    }

    /// Waits until the process that runs under this name has ended.
    pub(crate) async fn ended(&self, name: ProcessName) {
        if let Some(identity) = self.pid_files.recorded(name) {
            ended_within(identity, GRACE).await;
        }
    }
}

/// PostgreSQL takes `SIGTERM` as "when the last client has left"; `SIGINT` is its clean stop.
pub(crate) fn stop_signal(part: Part) -> Signal {
    if part == Part::Postgres { Signal::SIGINT } else { Signal::SIGTERM }
}

async fn ended_within(identity: ProcessIdentity, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    while identity.is_alive() {
        if Instant::now() > deadline {
            return false;
        }
        sleep(END_INTERVAL).await;
    }
    true
}
