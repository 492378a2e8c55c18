//! Brings a stack down, whoever started it.

use std::path::Path;

use futures::future::join_all;

use super::Stack;
use crate::data_directory::DataDirectory;
use crate::failure::StackError;
use crate::plan::Plan;
use crate::process::{Part, ProcessName};
use crate::progress::Progress;
use crate::sandboxes;
use crate::supervisor::Supervisor;

impl Stack {
    /// Stops everything in good order: each process may finish what it does, then the next ones.
    pub async fn stop(self) -> Result<(), StackError> {
        self.with_started(std::collections::BTreeSet::clear);
        stop_all(&self.data, &self.supervisor, &self.progress).await
    }

    /// Ends everything at once: for a person who does not want to wait for the good order.
    pub fn kill_all(&self) {
        self.supervisor.kill(self.supervisor.pid_files().names());
        sandboxes::end_all(&self.data);
        Plan::forget(&self.data);
    }

    /// Stops whatever runs in this data directory, by its pid files. Answers whether there was anything.
    pub async fn down(data_directory: &Path, progress: Progress) -> Result<bool, StackError> {
        let data = DataDirectory::open(data_directory)?;
        let supervisor = Supervisor::new(data.clone())?;
        let was_alive = supervisor.is_anything_alive();
        stop_all(&data, &supervisor, &progress).await?;
        Ok(was_alive)
    }
}

async fn stop_all(
    data: &DataDirectory,
    supervisor: &Supervisor,
    progress: &Progress,
) -> Result<(), StackError> {
    let _turn = data.lock(progress).await?;
    Plan::forget(data);
    let names = supervisor.pid_files().names();
    for wave in 0..WAVES {
        let leaving = names.iter().copied().filter(|name| wave_of(*name) == wave);
        join_all(leaving.map(|name| stop_one(name, supervisor, progress))).await;
    }
    sandboxes::end_all(data);
    Ok(())
}

async fn stop_one(name: ProcessName, supervisor: &Supervisor, progress: &Progress) {
    let was_alive = supervisor.pid_files().alive(name).is_some();
    supervisor.stop(name).await;
    if was_alive {
        progress.step(&format!("{name} is stopped"));
    }
}

const WAVES: u32 = 4;

/// The reverse of starting: first nobody asks any more, then nobody works, then nothing is kept.
fn wave_of(name: ProcessName) -> u32 {
    match name.part() {
        Part::ApiGateway => 0,
        Part::SessionService | Part::SandboxService | Part::VaultProxy | Part::Worker => 1,
        Part::Postgres | Part::Rabbitmq | Part::ScriptedModel | Part::Litellm => 2,
        Part::Epmd => 3,
    }
}
