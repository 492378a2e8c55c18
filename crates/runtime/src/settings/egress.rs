//! What every sandbox gets from the platform's own environment, and how the way out behaves.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;

use platform_core::network::HostPattern;
use secrecy::SecretString;

use super::{Reader, Section};

/// Variables of this prefix reach every sandbox without it.
pub(super) const PREFIX: &str = "CONTAINER_ENV_";
const SECRETS: &str = "CONTAINER_ENV_SECRETS";
const HOSTS: &str = "CONTAINER_ENV_HOSTS";

#[derive(Debug, Clone)]
pub struct EgressSettings {
    /// Authorities that other hosts' certificates may come from beside the machine's, as PEM.
    pub extra_ca_file: Option<PathBuf>,
    /// Addresses of names, as `/etc/hosts` has them; they win over what DNS says.
    pub hosts_file: Option<PathBuf>,
    /// Hosts of further package managers.
    pub package_hosts: Vec<HostPattern>,
    /// Where sandboxes that have no socket of their own to vault-proxy come to, each with its ticket. `None`: there are none.
    pub listen: Option<SocketAddr>,
    pub container: ContainerVariables,
}

/// `CONTAINER_ENV_*`.
#[derive(Debug, Clone, Default)]
pub struct ContainerVariables {
    pub values: BTreeMap<String, SecretString>,
    /// Which of them are secrets although their names do not say so.
    pub secrets: BTreeSet<String>,
    /// Where secrets are used.
    pub hosts: BTreeMap<String, Vec<HostPattern>>,
}

impl Section for EgressSettings {
    fn read(reader: &mut Reader) -> Option<Self> {
        let package_hosts = reader.optional("egress.package_hosts").unwrap_or_default();
        let package_hosts = patterns(reader, &package_hosts, "LAP__EGRESS__PACKAGE_HOSTS");
        let listen = reader.parsed_optional("egress.listen", "an address and a port");
        let container = read_variables(reader);
        Some(Self {
            extra_ca_file: reader.optional("egress.extra_ca_file").map(PathBuf::from),
            hosts_file: reader.optional("egress.hosts_file").map(PathBuf::from),
            package_hosts: package_hosts?,
            listen: listen?,
            container: container?,
        })
    }
}

fn read_variables(reader: &mut Reader) -> Option<ContainerVariables> {
    let mut variables = ContainerVariables::default();
    let mut is_sound = true;
    for (variable, value) in reader.container_variables() {
        if variable == SECRETS {
            let names = value.split([',', ' ']).filter(|name| !name.is_empty());
            variables.secrets.extend(names.map(str::to_owned));
        } else if variable == HOSTS {
            for entry in value.split(';').map(str::trim).filter(|entry| !entry.is_empty()) {
                let Some((name, hosts)) = entry.split_once('=') else {
                    reader.say(format!("{HOSTS} must be NAME=host,host;NAME=host, not {entry:?}"));
                    is_sound = false;
                    continue;
                };
                match patterns(reader, hosts, HOSTS) {
                    Some(hosts) => {
                        variables.hosts.insert(name.trim().to_owned(), hosts);
                    }
                    None => is_sound = false,
                }
            }
        } else if let Some(name) = variable.strip_prefix(PREFIX).filter(|name| !name.is_empty()) {
            variables.values.insert(name.to_owned(), SecretString::from(value));
        }
    }
    is_sound.then_some(variables)
}

/// `None` after each that is none was reported.
fn patterns(reader: &mut Reader, text: &str, shown: &str) -> Option<Vec<HostPattern>> {
    let mut found = Vec::new();
    let mut is_sound = true;
    for host in text.split(',').map(str::trim).filter(|host| !host.is_empty()) {
        match host.parse() {
            Ok(pattern) => found.push(pattern),
            Err(error) => {
                reader.say(format!("{shown} must list hosts: {error}"));
                is_sound = false;
            }
        }
    }
    is_sound.then_some(found)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use secrecy::ExposeSecret;

    use super::super::load_from;
    use super::*;

    fn load(variables: &[(&str, &str)]) -> Result<EgressSettings, Vec<String>> {
        let environment: HashMap<String, String> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let loaded = load_from::<EgressSettings>("vault-proxy", &environment);
        loaded.map(|loaded| loaded.settings).map_err(|refused| refused.faults)
    }

    #[test]
    fn variables_for_sandboxes_are_read_with_their_hosts() {
        let settings = load(&[
            ("CONTAINER_ENV_A_TOKEN", "sesame"),
            ("CONTAINER_ENV_EMPTY", ""),
            ("CONTAINER_ENV_SECRETS", "B, C"),
            ("CONTAINER_ENV_HOSTS", "A_TOKEN=a.example.com,*.a.example.com; B=b.example.com"),
            ("LAP__EGRESS__PACKAGE_HOSTS", "mirror.example.com"),
        ])
        .unwrap();
        let container = &settings.container;
        assert_eq!(container.values["A_TOKEN"].expose_secret(), "sesame");
        assert_eq!(container.values.len(), 1);
        assert!(container.secrets.contains("B") && container.secrets.contains("C"));
        assert_eq!(container.hosts["A_TOKEN"].len(), 2);
        assert_eq!(container.hosts["B"], ["b.example.com".parse().unwrap()]);
        assert_eq!(settings.package_hosts.len(), 1);
        assert!(!format!("{settings:?}").contains("sesame"));
    }

    #[test]
    fn what_is_no_host_is_a_fault() {
        let faults = load(&[("CONTAINER_ENV_HOSTS", "A=not a host;B")]).unwrap_err();
        assert_eq!(faults.len(), 2, "{faults:?}");
    }
}
