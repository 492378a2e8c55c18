//! Settings: defaults in the code, then `platform.toml`, then the environment; read once, checked at once.
//!
//! A service names the sections it needs and gets them all, or one message for each fault there is.

mod egress;
mod kubernetes;
mod name;
mod reader;
mod retention;
mod sections;
mod snapshots;

use std::collections::HashMap;
use std::fmt;

pub use egress::{ContainerVariables, EgressSettings};
pub use kubernetes::{ImagePullPolicy, KubernetesSettings};
pub use reader::Reader;
pub use retention::RetentionSettings;
pub use sections::{
    BrokerSettings, DatabaseSettings, EncryptionSettings, GatewaySettings, HttpSettings,
    KeySettings, LogFormat, LogSettings, SandboxBackendName, SandboxSettings, TelemetrySettings,
};
pub use snapshots::SnapshotSettings;

/// Settings that belong together.
pub trait Section: Sized {
    /// Reads the section; `None` after at least one fault was reported to `reader`.
    fn read(reader: &mut Reader) -> Option<Self>;
}

/// Settings, with what a person should hear about them although they can be used.
#[derive(Debug)]
pub struct Loaded<S> {
    pub settings: S,
    pub warnings: Vec<String>,
}

/// The settings cannot be used: every fault, each in a sentence that names the setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidSettings {
    pub faults: Vec<String>,
}

impl fmt::Display for InvalidSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the settings cannot be used:")?;
        self.faults.iter().try_for_each(|fault| write!(formatter, "\n  - {fault}"))
    }
}

impl std::error::Error for InvalidSettings {}

/// Reads the settings of a service from this process's environment and from the file that it names in `LAP_CONFIG` (else
/// `platform.toml` in the working directory, if there is one).
pub fn load<S: Section>(service_name: &str) -> Result<Loaded<S>, InvalidSettings> {
    load_from(service_name, &std::env::vars().collect())
}

fn load_from<S: Section>(
    service_name: &str,
    environment: &HashMap<String, String>,
) -> Result<Loaded<S>, InvalidSettings> {
    let mut reader = Reader::new(service_name, environment);
    let section = S::read(&mut reader);
    let (faults, warnings) = reader.finish();
    match section {
        Some(settings) if faults.is_empty() => Ok(Loaded { settings, warnings }),
        Some(_) | None => Err(InvalidSettings { faults }),
    }
}

impl Section for () {
    fn read(_reader: &mut Reader) -> Option<Self> {
        Some(())
    }
}

impl<A: Section, B: Section> Section for (A, B) {
    fn read(reader: &mut Reader) -> Option<Self> {
        let (a, b) = (A::read(reader), B::read(reader));
        Some((a?, b?))
    }
}

impl<A: Section, B: Section, C: Section> Section for (A, B, C) {
    fn read(reader: &mut Reader) -> Option<Self> {
        let (a, b, c) = (A::read(reader), B::read(reader), C::read(reader));
        Some((a?, b?, c?))
    }
}

impl<A: Section, B: Section, C: Section, D: Section> Section for (A, B, C, D) {
    fn read(reader: &mut Reader) -> Option<Self> {
        let (a, b, c, d) = (A::read(reader), B::read(reader), C::read(reader), D::read(reader));
        Some((a?, b?, c?, d?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    fn environment(variables: &[(&str, &str)]) -> HashMap<String, String> {
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let variables = [("DATABASE_URL", ""), ("LAP__DATABASE__POOL_SIZE", "many")];
        let refused =
            load_from::<(DatabaseSettings, BrokerSettings)>("worker", &environment(&variables))
                .unwrap_err();
        assert_eq!(
            refused.faults,
            [
                "DATABASE_URL is not set: the address of PostgreSQL, postgres://user:password@host:port/database",
                "LAP__DATABASE__POOL_SIZE must be a whole number, not \"many\"",
                "AMQP_URL is not set: the address of RabbitMQ, amqp://user:password@host:port/vhost",
            ]
        );
    }

    #[test]
    fn the_environment_wins_over_the_file_and_the_file_over_the_default() {
        let directory = std::env::temp_dir().join(format!("settings-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let file = directory.join("platform.toml");
        std::fs::write(&file, "[http]\nport = 4000\nhost = \"0.0.0.0\"\n").unwrap();
        let variables = [("LAP_CONFIG", file.to_str().unwrap()), ("PORT", "5000")];
        let loaded = load_from::<HttpSettings>("worker", &environment(&variables)).unwrap();
        std::fs::remove_dir_all(&directory).unwrap();

        assert_eq!(loaded.settings.port, 5000);
        assert_eq!(loaded.settings.host.to_string(), "0.0.0.0");
    }

    #[test]
    fn a_named_file_that_is_missing_is_a_fault() {
        let variables = [("LAP_CONFIG", "/nowhere/platform.toml")];
        let refused = load_from::<HttpSettings>("worker", &environment(&variables)).unwrap_err();
        assert!(refused.to_string().contains("/nowhere/platform.toml"), "{refused}");
    }

    #[test]
    fn the_older_name_of_the_gateway_is_accepted_and_the_newer_one_wins() {
        let older = [("LITELLM_API_BASE", "http://older:4000/")];
        let loaded = load_from::<GatewaySettings>("worker", &environment(&older)).unwrap();
        assert_eq!(loaded.settings.url, "http://older:4000");

        let both =
            [("LITELLM_API_BASE", "http://older:4000"), ("LITELLM_GATEWAY_URL", "http://newer")];
        let loaded = load_from::<GatewaySettings>("worker", &environment(&both)).unwrap();
        assert_eq!(loaded.settings.url, "http://newer");
    }

    #[test]
    fn a_short_master_key_is_accepted_with_a_warning_and_none_is_not() {
        let short =
            load_from::<KeySettings>("api-gateway", &environment(&[("MASTER_KEY", "sk-1")]));
        let short = short.unwrap();
        assert_eq!(short.settings.master.expose_secret(), "sk-1");
        assert_eq!(short.warnings.len(), 1);

        assert!(load_from::<KeySettings>("api-gateway", &environment(&[])).is_err());
    }

    #[test]
    fn a_misspelt_setting_is_told() {
        let misspelt = [("LAP__HTTP__HOTS", "127.0.0.1")];
        let loaded = load_from::<HttpSettings>("worker", &environment(&misspelt)).unwrap();
        assert_eq!(loaded.warnings, ["LAP__HTTP__HOTS names no setting"]);
    }

    #[test]
    fn a_secret_does_not_show_in_debug_output() {
        let variables = [("DATABASE_URL", "postgres://user:hunter2@localhost/lap")];
        let loaded = load_from::<DatabaseSettings>("worker", &environment(&variables)).unwrap();
        assert!(!format!("{loaded:?}").contains("hunter2"));
    }
}
