//! Notices what happens to a stack while somebody watches it.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::sleep;

use super::Stack;
use crate::data_directory::DataDirectory;
use crate::failure::StackError;
use crate::plan::Plan;
use crate::process::ProcessName;

const INTERVAL: Duration = Duration::from_millis(250);
/// A process that is stopped on purpose loses its pid file within one interval after its end.
const SEEN_DEAD: u32 = 2;

/// Something that a person who watches wants to know.
#[derive(Debug)]
pub enum StackEvent {
    /// A process ended and nobody had asked for it. The others go on.
    Ended { process: ProcessName, log: PathBuf, tail: String },
    /// Somebody stopped the whole stack from elsewhere.
    Stopped,
}

impl Stack {
    /// Waits for the next event.
    pub async fn next_event(&mut self) -> Result<StackEvent, StackError> {
        loop {
            if Plan::load(&self.data)?.is_none() {
                self.with_started(std::collections::BTreeSet::clear);
                return Ok(StackEvent::Stopped);
            }
            if let Some(process) = self.newly_dead() {
                let log = self.data.log(&process);
                let tail = DataDirectory::tail(&log, 20);
                return Ok(StackEvent::Ended { process, log, tail });
            }
            sleep(INTERVAL).await;
        }
    }

    fn newly_dead(&mut self) -> Option<ProcessName> {
        for name in self.supervisor.pid_files().names() {
            let Some(identity) = self.supervisor.pid_files().recorded(name) else { continue };
            if identity.is_alive() {
                continue;
            }
            let entry = self.dead.entry(name).or_insert((identity, 0));
            if entry.0 != identity {
                *entry = (identity, 0);
            }
            entry.1 = entry.1.saturating_add(1);
            if entry.1 == SEEN_DEAD {
                return Some(name);
            }
        }
        None
    }
}
