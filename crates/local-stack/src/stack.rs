//! A stack that runs, and the commands that a person or a test gives it.

mod builder;
mod start;
mod stop;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::sys::signal::Signal;

pub use builder::StackBuilder;
pub use watch::StackEvent;

use crate::data_directory::DataDirectory;
use crate::failure::StackError;
use crate::plan::Plan;
use crate::process::{Part, ProcessIdentity, ProcessName};
use crate::progress::Progress;
use crate::supervisor::Supervisor;
use crate::{parts, sandboxes};

/// A running stack. Dropping it kills what was started through it, unless it is left running.
#[derive(Debug)]
pub struct Stack {
    data: DataDirectory,
    plan: Plan,
    supervisor: Supervisor,
    progress: Progress,
    /// What this handle started, and therefore ends when it is dropped.
    started: Mutex<BTreeSet<ProcessName>>,
    /// Processes that were seen dead, and how often.
    dead: BTreeMap<ProcessName, (ProcessIdentity, u32)>,
}

impl Stack {
    /// Describes a stack that lives in this data directory.
    #[must_use]
    pub fn builder(data_directory: impl Into<PathBuf>) -> StackBuilder {
        StackBuilder::new(data_directory.into())
    }

    /// The stack that was started in this directory and not stopped since.
    pub fn attach(data_directory: &Path, progress: Progress) -> Result<Self, StackError> {
        let data = DataDirectory::open(data_directory)?;
        let no_stack = || StackError::NoStack(data.path().to_path_buf());
        let plan = Plan::load(&data)?.ok_or_else(no_stack)?;
        let supervisor = Supervisor::new(data.clone())?;
        Ok(Self::new(data, plan, supervisor, progress))
    }

    fn new(data: DataDirectory, plan: Plan, supervisor: Supervisor, progress: Progress) -> Self {
        let started = Mutex::default();
        Self { data, plan, supervisor, progress, started, dead: BTreeMap::new() }
    }

    /// Where the API answers.
    pub fn url(&self) -> String {
        let port = self.plan.port_of(Part::ApiGateway.into()).unwrap_or_default();
        format!("http://127.0.0.1:{port}")
    }

    /// Where each replica of the API answers.
    pub fn urls(&self) -> Vec<String> {
        let gateways = self.plan.services().filter(|name| name.part() == Part::ApiGateway);
        let ports = gateways.filter_map(|name| self.plan.port_of(name).ok());
        ports.map(|port| format!("http://127.0.0.1:{port}")).collect()
    }

    /// A setting that the stack runs with: `MASTER_KEY`, `LITELLM_API_KEY` …
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.plan.setting(name)
    }

    pub fn master_key(&self) -> &str {
        self.setting("MASTER_KEY").unwrap_or_default()
    }

    pub fn database_url(&self) -> &str {
        self.setting("DATABASE_URL").unwrap_or_default()
    }

    pub fn amqp_url(&self) -> &str {
        self.setting("AMQP_URL").unwrap_or_default()
    }

    pub fn litellm_url(&self) -> &str {
        self.setting("LITELLM_GATEWAY_URL").unwrap_or_default()
    }

    /// Where the harnesses lie, each in a folder `<name>-<version>`.
    pub fn harness_install_directory(&self) -> PathBuf {
        parts::harness_folder(&self.plan)
    }

    pub fn data_directory(&self) -> &DataDirectory {
        &self.data
    }

    /// Every process that belongs to the stack, with its port and, while it runs, its pid.
    pub fn processes(&self) -> Vec<(ProcessName, Option<u16>, Option<i32>)> {
        let row = |&name: &ProcessName| (name, self.plan.port_of(name).ok(), self.pid(name));
        self.plan.processes.iter().map(row).collect()
    }

    /// The pid of a process that runs.
    pub fn pid(&self, process: impl Into<ProcessName>) -> Option<i32> {
        self.supervisor.pid_files().alive(process.into()).map(ProcessIdentity::pid)
    }

    pub fn log(&self, process: impl Into<ProcessName>) -> PathBuf {
        self.data.log(&process.into())
    }

    /// Sends a signal to one process alone, as a crash or an operator would. It keeps its place in the stack.
    pub fn kill(&self, process: impl Into<ProcessName>, signal: Signal) -> Result<(), StackError> {
        self.supervisor.signal(process.into(), signal)
    }

    /// Waits until a process that was signalled has ended.
    pub async fn ended(&self, process: impl Into<ProcessName>) {
        self.supervisor.ended(process.into()).await;
    }

    /// Starts a process that does not run, as its neighbours were started, and waits until it is ready.
    pub async fn start_process(
        &mut self,
        process: impl Into<ProcessName>,
    ) -> Result<(), StackError> {
        let process = process.into();
        let _turn = self.data.lock(&self.progress).await?;
        if !self.plan.processes.contains(&process) {
            if !process.part().is_service() {
                return Err(StackError::UnknownProcess(process.to_string()));
            }
            self.plan.add(process)?;
            self.plan.save(&self.data)?;
        }
        self.ensure(process).await
    }

    /// Starts a process that does not run, and does not wait until it is ready: what it needs may be away.
    pub async fn launch(&self, process: impl Into<ProcessName>) -> Result<(), StackError> {
        let process = process.into();
        if self.pid(process).is_some() {
            return Ok(());
        }
        let specification = parts::specification(process, &self.plan, &self.data).await?;
        self.with_started(|started| started.insert(process));
        self.supervisor.launch(&specification)
    }

    /// Stops one process. The others go on.
    pub async fn stop_process(&self, process: impl Into<ProcessName>) -> Result<(), StackError> {
        let process = process.into();
        let _turn = self.data.lock(&self.progress).await?;
        if self.pid(process).is_none() {
            return Err(StackError::NotRunning(process));
        }
        self.supervisor.stop(process).await;
        Ok(())
    }

    async fn ensure(&self, process: ProcessName) -> Result<(), StackError> {
        let specification = parts::specification(process, &self.plan, &self.data).await?;
        if self.pid(process).is_none() {
            self.with_started(|started| started.insert(process));
        }
        if self.supervisor.ensure(&specification).await? {
            self.progress.step(&format!("{process} is ready"));
        }
        Ok(())
    }

    /// Forgets that this handle started anything: the processes go on without it.
    pub fn leave_running(self) {
        self.with_started(BTreeSet::clear);
    }

    fn with_started<T>(&self, change: impl FnOnce(&mut BTreeSet<ProcessName>) -> T) -> T {
        change(&mut self.started.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let started = self.with_started(std::mem::take);
        if started.is_empty() {
            return;
        }
        self.supervisor.kill(started);
        if !self.supervisor.is_anything_alive() {
            sandboxes::end_all(&self.data);
            Plan::forget(&self.data);
        }
    }
}
