//! What the drill runs against: a stack of its own, or somebody's installation.

use std::path::{Path, PathBuf};

use anyhow::Context;
use local_stack::{Part, ProcessName, Progress, Stack};
use system_tests::PatientClient;
use tempfile::TempDir;

use crate::arguments::Arguments;
use crate::crossing::Crossing;

/// Parts that nobody but the drill may harm exist only in a stack of its own.
pub(crate) struct Ground {
    pub(crate) urls: Vec<String>,
    pub(crate) key: String,
    pub(crate) stack: Option<Stack>,
    pub(crate) crossings: Vec<Crossing>,
    /// Where the processes of sandboxes can be found, if they are on this machine.
    pub(crate) sandboxes: Option<PathBuf>,
    /// For a stack of its own, and for what is kept after a failure.
    directory: TempDir,
}

impl Ground {
    pub(crate) async fn prepare(arguments: &Arguments) -> anyhow::Result<Self> {
        match (&arguments.url, &arguments.key) {
            (Some(url), Some(key)) => Ok(Self {
                urls: vec![url.trim_end_matches('/').to_owned()],
                key: key.clone(),
                stack: None,
                crossings: Vec::new(),
                sandboxes: arguments.data_dir.as_deref().map(below),
                directory: new_directory()?,
            }),
            (_, _) => Self::build(arguments).await,
        }
    }

    /// Two of every service, each with a way of its own to the database and the broker.
    async fn build(arguments: &Arguments) -> anyhow::Result<Self> {
        let directory = new_directory()?;
        let replicas = arguments.replicas;
        let data = directory.path().join("data");
        let mut crossings = Vec::new();
        for part in Part::SERVICES {
            for replica in 1..=replicas {
                let process = ProcessName::replica(part, replica)?;
                for to in [Part::Postgres, Part::Rabbitmq] {
                    crossings.push(Crossing::open(process, to).await?);
                }
            }
        }
        let counts: Vec<String> =
            Part::SERVICES.iter().map(|part| format!("{part}={replicas}")).collect();
        let places = arguments.places.unwrap_or(arguments.sessions);
        let mut builder = Stack::builder(&data)
            .root(arguments.root.canonicalize().context("cannot find the clone")?)
            .port(0)
            .not_durable()
            .progress(Progress::since(std::time::Duration::ZERO))
            .variable("LAP_REPLICAS", &counts.join(","))
            .variable("LAP__SANDBOX__MAX_RUNNING", &places.to_string());
        for crossing in &crossings {
            builder = builder.detour(crossing.detour.clone());
        }
        let stack = builder.start().await.context("the stack does not start")?;
        Ok(Self {
            urls: stack.urls(),
            key: stack.master_key().to_owned(),
            sandboxes: Some(below(stack.data_directory().path())),
            stack: Some(stack),
            crossings,
            directory,
        })
    }

    /// Where sessions keep their files, if they are on this machine.
    pub(crate) fn workspaces(&self) -> Option<PathBuf> {
        Some(self.sandboxes.as_ref()?.parent()?.join("workspaces"))
    }

    pub(crate) fn client(&self) -> anyhow::Result<PatientClient> {
        PatientClient::new(&self.urls, &self.key)
    }

    /// Processes that ended by themselves: whatever a blow ended is started again as part of the blow.
    pub(crate) fn ended_by_themselves(&self) -> Vec<(ProcessName, PathBuf)> {
        let Some(stack) = &self.stack else { return Vec::new() };
        let dead = stack.processes().into_iter().filter(|(_, _, pid)| pid.is_none());
        dead.map(|(name, _, _)| (name, stack.log(name))).collect()
    }

    /// Brings back whatever is away, and waits until all of it is ready.
    pub(crate) async fn repair(&self) -> anyhow::Result<()> {
        match &self.stack {
            Some(stack) => Ok(stack.repair().await?),
            None => Ok(()),
        }
    }

    /// Ends a stack of its own. After a failure the directory stays; answers where.
    pub(crate) fn leave(mut self, has_failed: bool) -> Option<PathBuf> {
        drop(self.stack.take());
        has_failed.then(|| self.directory.keep())
    }
}

fn new_directory() -> std::io::Result<TempDir> {
    tempfile::Builder::new().prefix("lap-drill").tempdir()
}

fn below(data: &Path) -> PathBuf {
    data.join("sandboxes").join("sandboxes")
}
