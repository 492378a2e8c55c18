//! A whole stack for tests: the real binaries, PostgreSQL, RabbitMQ, LiteLLM and opencode.

use std::fs::DirEntry;
use std::path::PathBuf;

use anyhow::Context;
use local_stack::{Part, ProcessName, Stack, StackBuilder};
use serde_json::json;
use tempfile::TempDir;
use uuid::Uuid;

use crate::client::id_of;
use crate::upstream::Authority;
use crate::{Client, PatientClient};

/// A running stack in a folder of its own. Dropping it kills everything.
pub struct House {
    pub stack: Stack,
    authority: Authority,
    directory: TempDir,
}

/// Names that the stack's vault-proxy finds without asking anybody, in the house's folder.
const HOSTS: &str = "hosts";

impl House {
    /// A house for figures: its database survives a power cut.
    pub async fn build_durable() -> anyhow::Result<Self> {
        Self::start(|builder| builder).await
    }

    /// A house for tests, with further settings.
    pub async fn build_with(
        change: impl FnOnce(StackBuilder) -> StackBuilder,
    ) -> anyhow::Result<Self> {
        Self::start(|builder| change(builder.not_durable())).await
    }

    async fn start(change: impl FnOnce(StackBuilder) -> StackBuilder) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("lap").tempdir()?;
        let (authority, hosts) = (Authority::new()?, directory.path().join(HOSTS));
        std::fs::write(&hosts, "")?;
        let builder = Stack::builder(directory.path().join("data"))
            .port(0)
            .variable("SSL_CERT_FILE", &authority.roots().display().to_string())
            .variable("LAP__EGRESS__HOSTS_FILE", &hosts.display().to_string());
        let stack = change(builder).start().await.context("the stack does not start")?;
        Ok(Self { stack, authority, directory })
    }

    /// Vouches for servers that a test starts; the stack and its sandboxes believe it.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Lets the stack find these names, and none that were told before.
    pub fn resolve(&self, names: &[(&str, &str)]) -> anyhow::Result<()> {
        let lines = names.iter().map(|(name, address)| format!("{address} {name}\n"));
        Ok(std::fs::write(self.directory.path().join(HOSTS), lines.collect::<String>())?)
    }

    /// Every replica of a part.
    pub fn replicas(&self, part: Part) -> Vec<ProcessName> {
        let all = self.stack.processes().into_iter().map(|(name, _, _)| name);
        all.filter(|name| name.part() == part).collect()
    }

    /// Where a harness is installed.
    pub fn harness(&self, name: &str) -> anyhow::Result<PathBuf> {
        let all = self.stack.harness_install_directory();
        let is_wanted = |entry: &DirEntry| {
            entry.path().is_dir() && entry.file_name().to_string_lossy().starts_with(name)
        };
        let mut entries = std::fs::read_dir(&all)?.filter_map(Result::ok);
        let found = entries.find(is_wanted);
        Ok(found.with_context(|| format!("no {name} in {}", all.display()))?.path())
    }

    /// Prints the ends of all logs, for a run that failed.
    pub fn show_logs(&self) {
        for (name, _, _) in self.stack.processes() {
            let log = std::fs::read_to_string(self.stack.log(name)).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines.get(lines.len().saturating_sub(40)..).unwrap_or_default();
            eprintln!("\n== {name}\n{}", end.join("\n"));
        }
    }

    /// Acts as the administrator.
    pub fn administrator(&self) -> anyhow::Result<Client> {
        Client::new(self.stack.url(), self.stack.master_key())
    }

    /// Acts for a new team.
    pub async fn team(&self) -> anyhow::Result<Client> {
        Client::new(self.stack.url(), &self.team_key().await?)
    }

    /// Acts for a new team, as a program that may ask any gateway and does not give up.
    pub async fn patient_team(&self) -> anyhow::Result<PatientClient> {
        PatientClient::new(&self.stack.urls(), &self.team_key().await?)
    }

    async fn team_key(&self) -> anyhow::Result<String> {
        Ok(self.new_team().await?.1)
    }

    /// A team's id and a key of it.
    pub(crate) async fn new_team(&self) -> anyhow::Result<(String, String)> {
        let administrator = self.administrator()?;
        let name = format!("team-{}", Uuid::new_v4().simple());
        let team = administrator.post("/v1/teams", &json!({ "name": name })).await?;
        let body = json!({ "team_id": team["id"], "name": "tests" });
        let key = administrator.post("/v1/api_keys", &body).await?;
        let key = key["key"].as_str().context("the answer carries no key")?;
        Ok((id_of(&team)?, key.to_owned()))
    }
}
