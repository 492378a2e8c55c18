//! The platform's own variables, `CONTAINER_ENV_*`: in every sandbox, secrets among them as placeholders.

use std::collections::BTreeMap;

use platform_core::variable::{is_reserved, is_variable_name, known_hosts, looks_like_a_secret};
use platform_runtime::redaction;
use platform_runtime::settings::ContainerVariables;
use platform_sealing::EncryptionKeys;
use platform_storage::secret::{KnownSecret, StoredFingerprint};
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::binding::{Hosts, SecretValue};

/// One of the platform's variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlatformVariable {
    Plain(String),
    Secret { value: SecretValue, hosts: Hosts },
}

/// The platform's variables, and what their operator should hear about them.
#[derive(Debug, Default)]
pub struct PlatformVariables {
    pub by_name: BTreeMap<String, PlatformVariable>,
    pub warnings: Vec<String>,
}

impl PlatformVariables {
    pub fn new(settings: &ContainerVariables) -> Self {
        let mut variables = Self::default();
        for (name, value) in &settings.values {
            if !is_variable_name(name) || is_reserved(name) {
                variables.warn(format!(
                    "CONTAINER_ENV_{name} is left out: a sandbox needs {name} itself, or it is no variable's name"
                ));
                continue;
            }
            let is_secret = looks_like_a_secret(name) || settings.secrets.contains(name);
            let variable = if is_secret {
                redaction::remember_for_good(value);
                let value = value.expose_secret().as_bytes().to_vec();
                let hosts = settings.hosts.get(name).cloned().unwrap_or_else(|| {
                    known_hosts(name).iter().filter_map(|host| host.parse().ok()).collect()
                });
                if hosts.is_empty() {
                    variables.warn(format!(
                        "CONTAINER_ENV_{name} is a secret without hosts, so its placeholder is replaced nowhere; name them in \
                         CONTAINER_ENV_HOSTS={name}=host,host"
                    ));
                }
                let value = SecretValue::new(Zeroizing::new(value));
                PlatformVariable::Secret { value, hosts: Hosts::Only(hosts) }
            } else {
                PlatformVariable::Plain(value.expose_secret().to_owned())
            };
            variables.by_name.insert(name.clone(), variable);
        }
        variables
    }

    /// By what the secrets among them are recognised in texts.
    pub fn fingerprints(&self, keys: &EncryptionKeys) -> Vec<KnownSecret> {
        let known = self.by_name.iter().filter_map(|(name, variable)| {
            let PlatformVariable::Secret { value, .. } = variable else { return None };
            let print = keys.current().fingerprint(value.expose())?;
            let fingerprint = StoredFingerprint {
                length: i32::try_from(print.length).ok()?,
                head: print.head,
                digest: print.digest,
            };
            Some(KnownSecret { name: name.clone(), key_id: print.key.to_string(), fingerprint })
        });
        known.collect()
    }

    fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    fn variables(
        values: &[(&str, &str)],
        secrets: &[&str],
        hosts: &[(&str, &str)],
    ) -> PlatformVariables {
        PlatformVariables::new(&ContainerVariables {
            values: values
                .iter()
                .map(|(name, value)| ((*name).to_owned(), SecretString::from(*value)))
                .collect(),
            secrets: secrets.iter().map(|name| (*name).to_owned()).collect(),
            hosts: hosts
                .iter()
                .map(|(name, host)| ((*name).to_owned(), vec![host.parse().unwrap()]))
                .collect(),
        })
    }

    fn hosts_of(variables: &PlatformVariables, name: &str) -> usize {
        match &variables.by_name[name] {
            PlatformVariable::Secret { hosts: Hosts::Only(hosts), .. } => hosts.len(),
            PlatformVariable::Secret { .. } | PlatformVariable::Plain(_) => panic!("{name}"),
        }
    }

    #[test]
    fn secrets_are_told_by_their_names_and_know_their_hosts() {
        let values = [("GITHUB_TOKEN", "a"), ("MY_KEY", "b"), ("LISTED", "c"), ("LANG", "de")];
        let variables = variables(&values, &["LISTED"], &[("LISTED", "x.example.com")]);
        assert_eq!(hosts_of(&variables, "GITHUB_TOKEN"), 4);
        assert_eq!(hosts_of(&variables, "LISTED"), 1);
        assert_eq!(hosts_of(&variables, "MY_KEY"), 0);
        assert_eq!(variables.by_name["LANG"], PlatformVariable::Plain("de".to_owned()));
        assert_eq!(variables.warnings.len(), 1, "{:?}", variables.warnings);
        assert!(
            variables.warnings[0].starts_with("CONTAINER_ENV_MY_KEY is a secret without hosts")
        );
    }

    #[test]
    fn what_the_sandbox_needs_itself_is_left_out() {
        let variables = variables(&[("PATH", "/x"), ("a b", "x")], &[], &[]);
        assert!(variables.by_name.is_empty());
        assert_eq!(variables.warnings.len(), 2);
    }
}
