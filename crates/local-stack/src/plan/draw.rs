//! Decides what a stack consists of, from what its caller gave and what earlier starts have made.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Plan;
use crate::caller::Caller;
use crate::data_directory::DataDirectory;
use crate::detour::Detour;
use crate::failure::StackError;
use crate::generated::{Generated, administrator_key, encryption_key, gateway_key, password};
use crate::port::{PortChooser, require_free};
use crate::process::{Part, ProcessName};

const DEFAULT_PORT: u16 = 3000;
const PROVIDER_KEYS: [&str; 3] = ["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY"];

/// What is to be started.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) caller: Caller,
    pub(crate) root: PathBuf,
    pub(crate) binaries: PathBuf,
    /// Zero chooses a free one; none takes `PORT` of the caller, or 3000.
    pub(crate) port: Option<u16>,
    pub(crate) durable: bool,
    /// PostgreSQL and RabbitMQ alone, with RabbitMQ's management API: what tests of single crates need.
    pub(crate) only_database_and_broker: bool,
    pub(crate) detours: Vec<Detour>,
}

/// Makes a plan and writes the generated part of it to `.lap/env`.
pub(crate) fn draw(request: &Request, data: &DataDirectory) -> Result<Plan, StackError> {
    let mut drawing = Drawing {
        caller: &request.caller,
        generated: Generated::load(data)?,
        chooser: PortChooser::default(),
        processes: Vec::new(),
        ports: BTreeMap::new(),
        settings: BTreeMap::new(),
    };
    drawing.database()?;
    drawing.broker(request.only_database_and_broker)?;
    if !request.only_database_and_broker {
        drawing.gateway_of_models()?;
        drawing.services(request.port)?;
        drawing.secret("MASTER_KEY", administrator_key);
        drawing.secret("ENCRYPTION_KEY", encryption_key);
    }
    drawing.generated.save(data)?;
    drawing.processes.sort();
    Ok(Plan {
        root: request.root.clone(),
        binaries: request.binaries.clone(),
        cache: request.caller.cache_directory(),
        durable: request.durable,
        processes: drawing.processes,
        ports: drawing.ports,
        basics: request.caller.basics(),
        settings: drawing.settings,
        for_services: request.caller.for_services(),
        provider_keys: request.caller.select(|name| PROVIDER_KEYS.contains(&name)),
        detours: request.detours.iter().map(Detour::planned).collect(),
    })
}

struct Drawing<'a> {
    caller: &'a Caller,
    generated: Generated,
    chooser: PortChooser,
    processes: Vec<ProcessName>,
    ports: BTreeMap<String, u16>,
    settings: BTreeMap<String, String>,
}

impl Drawing<'_> {
    fn database(&mut self) -> Result<(), StackError> {
        if self.given("DATABASE_URL") {
            return Ok(());
        }
        let port = self.start(Part::Postgres)?;
        let password = self.secret("LAP_POSTGRES_PASSWORD", password);
        self.address(
            "DATABASE_URL",
            &format!("postgres://lap:{password}@127.0.0.1:{port}/platform"),
        );
        Ok(())
    }

    fn broker(&mut self, with_management: bool) -> Result<(), StackError> {
        if self.given("AMQP_URL") {
            return Ok(());
        }
        self.start(Part::Epmd)?;
        let port = self.start(Part::Rabbitmq)?;
        self.choose("rabbitmq-distribution")?;
        let password = self.secret("LAP_RABBITMQ_PASSWORD", password);
        self.address("AMQP_URL", &format!("amqp://lap:{password}@127.0.0.1:{port}/%2f"));
        if with_management {
            let port = self.choose("rabbitmq-management")?;
            let url = format!("http://lap:{password}@127.0.0.1:{port}");
            self.address("RABBITMQ_MANAGEMENT_URL", &url);
        }
        Ok(())
    }

    fn gateway_of_models(&mut self) -> Result<(), StackError> {
        if self.given("LITELLM_GATEWAY_URL")
            || self.given_as("LITELLM_API_BASE", "LITELLM_GATEWAY_URL")
        {
            // A key that was made for our own LiteLLM is none for somebody else's.
            self.given("LITELLM_API_KEY");
            self.generated.remove("LITELLM_API_KEY");
            return Ok(());
        }
        self.start(Part::ScriptedModel)?;
        let port = self.start(Part::Litellm)?;
        self.address("LITELLM_GATEWAY_URL", &format!("http://127.0.0.1:{port}"));
        self.secret("LITELLM_API_KEY", gateway_key);
        Ok(())
    }

    fn services(&mut self, port: Option<u16>) -> Result<(), StackError> {
        let port = port.map_or_else(|| public_port(self.caller), Ok)?;
        let replicas = replicas(self.caller)?;
        for part in Part::SERVICES {
            for replica in 1..=replicas.get(&part).copied().unwrap_or(1) {
                let name = ProcessName::replica(part, replica)?;
                if part == Part::ApiGateway && name.is_first() && port != 0 {
                    require_free(port)?;
                    self.ports.insert(name.to_string(), port);
                } else {
                    self.choose(&name.to_string())?;
                }
                self.processes.push(name);
            }
        }
        let public = self.ports.get(Part::ApiGateway.as_str()).copied().unwrap_or(port);
        self.generated.set("LAP_URL", &format!("http://127.0.0.1:{public}"));
        Ok(())
    }

    fn start(&mut self, part: Part) -> Result<u16, StackError> {
        self.processes.push(ProcessName::from(part));
        self.choose(part.as_str())
    }

    fn choose(&mut self, purpose: &str) -> Result<u16, StackError> {
        let port = self.chooser.choose()?;
        self.ports.insert(purpose.to_owned(), port);
        Ok(port)
    }

    /// Takes over what the caller gave. Somebody who sourced `.lap/env` before starting again gave nothing.
    fn given(&mut self, name: &str) -> bool {
        self.given_as(name, name)
    }

    fn given_as(&mut self, spelling: &str, name: &str) -> bool {
        let value = self.caller.get(spelling).filter(|value| !self.generated.is_ours(name, value));
        let Some(value) = value else { return false };
        self.settings.insert(name.to_owned(), value.to_owned());
        self.generated.remove(name);
        true
    }

    fn address(&mut self, name: &str, url: &str) {
        self.generated.set(name, url);
        self.settings.insert(name.to_owned(), url.to_owned());
    }

    /// The caller's value, else the kept one, else a new one that is kept. A caller's own is not written down.
    fn secret(&mut self, name: &str, make: fn() -> String) -> String {
        let value = match self.caller.get(name) {
            Some(value) => value.to_owned(),
            None => self.generated.secret(name, make),
        };
        self.settings.insert(name.to_owned(), value.clone());
        value
    }
}

fn public_port(caller: &Caller) -> Result<u16, StackError> {
    let Some(text) = caller.get("PORT") else { return Ok(DEFAULT_PORT) };
    text.parse().map_err(|_| StackError::Setting {
        name: "PORT".to_owned(),
        problem: format!("{text:?} is not a port number"),
    })
}

/// Reads `LAP_REPLICAS=session-service=2,worker=2`.
fn replicas(caller: &Caller) -> Result<BTreeMap<Part, u32>, StackError> {
    let Some(text) = caller.get("LAP_REPLICAS") else { return Ok(BTreeMap::new()) };
    let wrong = |entry: &str| StackError::Setting {
        name: "LAP_REPLICAS".to_owned(),
        problem: format!("{entry:?} is not SERVICE=NUMBER, such as session-service=2"),
    };
    let entry = |entry: &str| {
        let (part, count) = entry.split_once('=').ok_or_else(|| wrong(entry))?;
        let part: Part = part.trim().parse().map_err(|_| wrong(entry))?;
        let count: u32 = count.trim().parse().map_err(|_| wrong(entry))?;
        if part.is_service() && (1..=16).contains(&count) {
            Ok((part, count))
        } else {
            Err(wrong(entry))
        }
    };
    text.split(',').map(entry).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn request(pairs: &[(&str, &str)]) -> Request {
        let mut caller = Caller::bare();
        for (name, value) in pairs {
            caller.set(name, value);
        }
        Request {
            caller,
            root: PathBuf::from("/nowhere"),
            binaries: PathBuf::from("/nowhere"),
            port: Some(0),
            durable: true,
            only_database_and_broker: false,
            detours: Vec::new(),
        }
    }

    pub(crate) fn data() -> (tempfile::TempDir, DataDirectory) {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDirectory::create(directory.path()).unwrap();
        (directory, data)
    }

    #[test]
    fn secrets_stay_and_ports_are_chosen_again() {
        let (_directory, data) = data();
        let first = draw(&request(&[]), &data).unwrap();
        let second = draw(&request(&[]), &data).unwrap();
        for secret in ["MASTER_KEY", "ENCRYPTION_KEY", "LAP_POSTGRES_PASSWORD", "LITELLM_API_KEY"] {
            assert!(first.setting(secret).is_some(), "{secret}");
            assert_eq!(first.setting(secret), second.setting(secret), "{secret}");
        }
        assert_ne!(first.setting("DATABASE_URL"), second.setting("DATABASE_URL"));
    }

    #[test]
    fn what_the_caller_gives_is_used_and_not_written_down() {
        let (_directory, data) = data();
        let given = [("DATABASE_URL", "postgres://db/x"), ("MASTER_KEY", "mine")];
        let plan = draw(&request(&given), &data).unwrap();
        assert!(!plan.has(Part::Postgres));
        assert!(plan.has(Part::Rabbitmq));
        assert_eq!(plan.setting("DATABASE_URL"), Some("postgres://db/x"));
        assert_eq!(plan.setting("MASTER_KEY"), Some("mine"));
        let written = std::fs::read_to_string(data.environment_file()).unwrap();
        assert!(!written.contains("mine") && !written.contains("DATABASE_URL"), "{written}");
    }

    #[test]
    fn sourcing_the_generated_file_changes_nothing() {
        let (_directory, data) = data();
        let first = draw(&request(&[]), &data).unwrap();
        let sourced = [("DATABASE_URL", first.setting("DATABASE_URL").unwrap())];
        let second = draw(&request(&sourced), &data).unwrap();
        assert!(second.has(Part::Postgres));
    }

    #[test]
    fn a_foreign_gateway_gets_no_key_of_ours() {
        let (_directory, data) = data();
        draw(&request(&[]), &data).unwrap();
        let plan = draw(&request(&[("LITELLM_API_BASE", "http://llm")]), &data).unwrap();
        assert_eq!(plan.setting("LITELLM_GATEWAY_URL"), Some("http://llm"));
        assert_eq!(plan.setting("LITELLM_API_KEY"), None);
        assert!(!plan.has(Part::Litellm) && !plan.has(Part::ScriptedModel));
    }

    #[test]
    fn replicas_are_counted_and_nonsense_is_refused() {
        let (_directory, data) = data();
        let plan = draw(&request(&[("LAP_REPLICAS", "session-service=2")]), &data).unwrap();
        let names: Vec<String> = plan.services().map(|name| name.to_string()).collect();
        let expected = [
            "api-gateway",
            "session-service",
            "session-service-2",
            "sandbox-service",
            "vault-proxy",
            "worker",
        ];
        assert_eq!(names, expected);
        for nonsense in ["worker", "worker=0", "postgres=2", "x=1"] {
            assert!(draw(&request(&[("LAP_REPLICAS", nonsense)]), &data).is_err(), "{nonsense}");
        }
    }
}
