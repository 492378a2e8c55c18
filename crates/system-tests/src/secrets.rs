//! Secrets and the way out, as an administrator and a team set them up.

use std::path::PathBuf;

use anyhow::Context;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::id_of;
use crate::{Client, House};

/// A secret for a vault: the name of its variable, its value, and where it may go.
pub struct Secret<'a> {
    pub name: &'a str,
    pub value: &'a str,
    pub hosts: &'a [String],
    /// Where in a request, beside headers and Basic authorization: `body`, `query`.
    pub also_in: &'a [&'a str],
}

impl House {
    /// Acts for a new team that may reach these hosts although their addresses are not public.
    pub async fn team_allowing(&self, hosts: &[String]) -> anyhow::Result<Client> {
        let (team, key) = self.new_team().await?;
        let body = json!({ "internal_hosts": hosts });
        self.administrator()?.post(&format!("/v1/teams/{team}"), &body).await?;
        Client::new(self.stack.url(), &key)
    }

    /// The folder with the socket of a session's way out, as it lies outside of its sandbox.
    pub async fn egress_of(&self, client: &Client, session: &str) -> anyhow::Result<PathBuf> {
        let listed = client.get(&format!("/v1/sandboxes?session_id={session}")).await?;
        let id = id_of(&listed["data"][0])?;
        let bare = Uuid::parse_str(id.rsplit('_').next().unwrap_or(&id))?.simple().to_string();
        let sandboxes = self.stack.data_directory().path().join("sandboxes/sandboxes");
        Ok(sandboxes.join(bare).join("egress"))
    }
}

impl Client {
    /// Creates a vault with these secrets; answers its id.
    pub async fn create_vault(&self, secrets: &[Secret<'_>]) -> anyhow::Result<String> {
        let vault = id_of(&self.post("/v1/vaults", &json!({ "display_name": "tests" })).await?)?;
        for secret in secrets {
            let body = json!({ "auth": secret.as_auth() });
            self.post(&format!("/v1/vaults/{vault}/credentials"), &body).await?;
        }
        Ok(vault)
    }

    /// Opens a session with these vaults, in an environment of its own; answers its id.
    pub async fn open_session_with(&self, agent: &str, vaults: &[&str]) -> anyhow::Result<String> {
        let name = format!("environment-{}", Uuid::new_v4().simple());
        let body = json!({ "name": name, "config": { "type": "cloud" } });
        let environment = id_of(&self.post("/v1/environments", &body).await?)?;
        let body = json!({ "agent": agent, "environment_id": environment, "vault_ids": vaults });
        id_of(&self.post("/v1/sessions", &body).await?)
    }

    /// Has the demo model run a command in the sandbox; answers what it printed.
    pub async fn run(&self, session: &str, command: &str) -> anyhow::Result<String> {
        let known = self.log(session).await?.len();
        self.say(session, &format!("@run {command}")).await?;
        let events = self.until_idle(session, known, 1).await?;
        let result = events.iter().find(|event| event["type"] == "agent.tool_result");
        let text = result.and_then(|event| event["content"][0]["text"].as_str());
        Ok(text.with_context(|| format!("no result among {events:?}"))?.to_owned())
    }
}

impl Secret<'_> {
    fn as_auth(&self) -> Value {
        let within = |place: &str| self.also_in.contains(&place);
        json!({
            "type": "environment_variable",
            "secret_name": self.name,
            "secret_value": self.value,
            "networking": { "type": "limited", "allowed_hosts": self.hosts },
            "injection_location": { "header": true, "body": within("body"), "query": within("query") },
        })
    }
}
