//! What a stack consists of while it runs: decided at its start, the same for every later command.

mod draw;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[cfg(test)]
pub(crate) use draw::tests;
pub(crate) use draw::{Request, draw};

use crate::data_directory::{DataDirectory, write_private};
use crate::detour::PlannedDetour;
use crate::failure::StackError;
use crate::port::PortChooser;
use crate::process::{Part, ProcessName};

/// Kept in `run/stack.json` (it holds secrets, so it is private), so that a process started later gets what its
/// neighbours got, whatever the environment of the one who starts it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// The clone: harnesses lie here.
    pub(crate) root: PathBuf,
    /// The folder of the platform's built programs.
    pub(crate) binaries: PathBuf,
    /// Tools that all clones share.
    pub(crate) cache: PathBuf,
    /// Whether the database survives a power cut. Tests do without.
    pub(crate) durable: bool,
    /// Every process that belongs to this stack.
    pub(crate) processes: Vec<ProcessName>,
    ports: BTreeMap<String, u16>,
    /// What every process may see: PATH, HOME, LANG …
    pub(crate) basics: BTreeMap<String, String>,
    /// The named settings of the platform: addresses and secrets.
    settings: BTreeMap<String, String>,
    /// Settings that reach every service as they were given.
    pub(crate) for_services: BTreeMap<String, String>,
    /// Keys of model providers, for LiteLLM alone.
    pub(crate) provider_keys: BTreeMap<String, String>,
    #[serde(default)]
    detours: Vec<PlannedDetour>,
}

impl Plan {
    fn path(data: &DataDirectory) -> PathBuf {
        data.run_directory().join("stack.json")
    }

    pub(crate) fn save(&self, data: &DataDirectory) -> Result<(), StackError> {
        let path = Self::path(data);
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| StackError::file("write", &path)(error.into()))?;
        write_private(&path, &text)
    }

    /// The plan of the stack that runs, or ran last without being stopped.
    pub(crate) fn load(data: &DataDirectory) -> Result<Option<Self>, StackError> {
        let path = Self::path(data);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path).map_err(StackError::file("read", &path))?;
        let plan = serde_json::from_str(&text);
        Ok(Some(plan.map_err(|error| StackError::file("read", &path)(error.into()))?))
    }

    /// From here on the stack counts as stopped on purpose.
    pub(crate) fn forget(data: &DataDirectory) {
        // Another terminal may have stopped it already.
        let _ = fs::remove_file(Self::path(data));
    }

    pub(crate) fn has(&self, part: Part) -> bool {
        self.processes.iter().any(|name| name.part() == part)
    }

    /// Replicas of one part, in order.
    pub(crate) fn services(&self) -> impl Iterator<Item = ProcessName> + '_ {
        self.processes.iter().copied().filter(|name| name.part().is_service())
    }

    pub(crate) fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }

    /// The address of the database or the broker, as this process is to reach it.
    pub(crate) fn address_for(&self, process: ProcessName, of: Part) -> Option<String> {
        let address = self.setting(match of {
            Part::Postgres => "DATABASE_URL",
            Part::Rabbitmq => "AMQP_URL",
            Part::Epmd
            | Part::ScriptedModel
            | Part::Litellm
            | Part::ApiGateway
            | Part::SessionService
            | Part::SandboxService
            | Part::VaultProxy
            | Part::Worker => return None,
        })?;
        let taken = |detour: &&PlannedDetour| detour.process == process && detour.to == of.into();
        match (self.detours.iter().find(taken), self.port_of(of.into())) {
            (Some(detour), Ok(port)) => Some(address.replacen(
                &format!("127.0.0.1:{port}"),
                &format!("127.0.0.1:{}", detour.port),
                1,
            )),
            (Some(_) | None, _) => Some(address.to_owned()),
        }
    }

    /// The port that was chosen for this purpose: a process's name, or a name of its own for a second port.
    pub(crate) fn port(&self, purpose: &str) -> Result<u16, StackError> {
        self.ports.get(purpose).copied().ok_or_else(|| StackError::Setting {
            name: "run/stack.json".to_owned(),
            problem: format!("no port for {purpose}: stop the stack and start it again"),
        })
    }

    pub(crate) fn port_of(&self, process: ProcessName) -> Result<u16, StackError> {
        self.port(&process.to_string())
    }

    /// Adds a replica that the stack did not have at its start.
    pub(crate) fn add(&mut self, process: ProcessName) -> Result<(), StackError> {
        let port = PortChooser::default().choose()?;
        self.ports.insert(process.to_string(), port);
        self.processes.push(process);
        self.processes.sort();
        Ok(())
    }

    /// A program of the platform, which must have been built.
    pub(crate) fn binary(&self, name: &str) -> Result<PathBuf, StackError> {
        let path = self.binaries.join(name);
        if path.is_file() {
            Ok(path)
        } else {
            Err(StackError::ProgramMissing(path.display().to_string()))
        }
    }
}
