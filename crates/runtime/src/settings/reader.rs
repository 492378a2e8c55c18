//! Reads single values, and remembers every fault on the way.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use config::{Config, Environment, File, FileFormat, Map};
use secrecy::SecretString;

use super::egress;
use super::name::{self, SETTINGS};
use crate::redaction;

const FILE: &str = "platform.toml";

/// All sources of settings in one, and the faults found so far.
pub struct Reader {
    service_name: String,
    values: Config,
    /// `CONTAINER_ENV_*`, which are for sandboxes.
    container_variables: BTreeMap<String, String>,
    faults: Vec<String>,
    warnings: Vec<String>,
}

impl Reader {
    pub(super) fn new(service_name: &str, environment: &HashMap<String, String>) -> Self {
        let mut faults = Vec::new();
        let values = merge(environment).unwrap_or_else(|failure| {
            faults.push(failure.to_string());
            Config::default()
        });
        let container_variables = environment
            .iter()
            .filter(|(name, value)| name.starts_with(egress::PREFIX) && !value.is_empty())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let mut reader = Self {
            service_name: service_name.to_owned(),
            values,
            container_variables,
            faults,
            warnings: Vec::new(),
        };
        reader.find_misspelt(environment);
        reader
    }

    pub(super) fn finish(self) -> (Vec<String>, Vec<String>) {
        (self.faults, self.warnings)
    }

    pub fn service_name(&self) -> &str {
        &self.service_name
    }

    /// Reports a fault of the setting `key`; `what` continues a sentence that begins with its name.
    pub fn fault(&mut self, key: &str, what: &str) {
        self.faults.push(format!("{} {what}", name::shown(key)));
    }

    /// Reports a fault of what is no setting of ours in a sentence of its own.
    pub fn say(&mut self, sentence: String) {
        self.faults.push(sentence);
    }

    /// `CONTAINER_ENV_*`, whole names and values that are not empty.
    pub fn container_variables(&self) -> Vec<(String, String)> {
        let variables = self.container_variables.iter();
        variables.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    pub fn warn(&mut self, key: &str, what: &str) {
        self.warnings.push(format!("{} {what}", name::shown(key)));
    }

    /// The value of `key`, where the empty string is none.
    pub fn optional(&self, key: &str) -> Option<String> {
        debug_assert!(SETTINGS.iter().any(|setting| setting.key == key), "{key} is not listed");
        self.values.get_string(key).ok().filter(|value| !value.is_empty())
    }

    /// The value of `key`, or a fault that says what belongs there.
    pub fn required(&mut self, key: &str, what_it_is: &str) -> Option<String> {
        let value = self.optional(key);
        if value.is_none() {
            self.fault(key, &format!("is not set: {what_it_is}"));
        }
        value
    }

    /// As [`Reader::required`]; this process writes the value in no log.
    pub fn required_secret(&mut self, key: &str, what_it_is: &str) -> Option<SecretString> {
        self.required(key, what_it_is).map(secret)
    }

    /// As [`Reader::optional`]; this process writes the value in no log.
    pub fn optional_secret(&self, key: &str) -> Option<SecretString> {
        self.optional(key).map(secret)
    }

    /// The value of `key`, or the default; a fault when it is set and is not `what_it_must_be`.
    pub fn parsed<T: FromStr>(
        &mut self,
        key: &str,
        what_it_must_be: &str,
        default: T,
    ) -> Option<T> {
        self.parsed_optional(key, what_it_must_be).map(|value| value.unwrap_or(default))
    }

    pub fn parsed_optional<T: FromStr>(
        &mut self,
        key: &str,
        what_it_must_be: &str,
    ) -> Option<Option<T>> {
        let Some(text) = self.optional(key) else { return Some(None) };
        if let Ok(value) = text.parse() {
            return Some(Some(value));
        }
        self.fault(key, &format!("must be {what_it_must_be}, not {text:?}"));
        None
    }

    pub fn path(&self, key: &str, default: impl Into<PathBuf>) -> PathBuf {
        self.optional(key).map_or_else(|| default.into(), PathBuf::from)
    }

    /// An address of an HTTP server without the slash at its end; a fault when it is something else.
    pub fn http_url(&mut self, key: &str, text: &str) -> Option<String> {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        if rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/')) {
            return Some(text.trim_end_matches('/').to_owned());
        }
        self.fault(
            key,
            &format!("must begin with http:// or https:// and name a host, not {text:?}"),
        );
        None
    }

    fn find_misspelt(&mut self, environment: &HashMap<String, String>) {
        let is_known = |key: &str| SETTINGS.iter().any(|setting| setting.key == key);
        let mut misspelt: Vec<String> = environment
            .keys()
            .filter_map(|variable| Some((variable, variable.strip_prefix("LAP__")?)))
            .filter(|(_, rest)| !is_known(&rest.to_lowercase().replace("__", ".")))
            .map(|(variable, _)| format!("{variable} names no setting"))
            .collect();
        misspelt.sort();
        self.warnings.append(&mut misspelt);
    }
}

fn merge(environment: &HashMap<String, String>) -> Result<Config, impl Display> {
    let named = environment.get("LAP_CONFIG").filter(|path| !path.is_empty());
    let file = File::new(named.map_or(FILE, String::as_str), FileFormat::Toml);
    let prefixed: Map<String, String> =
        environment.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let prefixed = Environment::with_prefix("LAP")
        .prefix_separator("__")
        .separator("__")
        .ignore_empty(true)
        .source(Some(prefixed));

    let mut builder =
        Config::builder().add_source(file.required(named.is_some())).add_source(prefixed);
    for setting in &SETTINGS {
        let mut values = setting.well_known.iter().filter_map(|name| environment.get(*name));
        if let Some(value) = values.find(|value| !value.is_empty()) {
            builder = builder.set_override(setting.key, value.as_str())?;
        }
    }
    builder.build()
}

/// A value that this process writes in no log.
pub(super) fn secret(value: String) -> SecretString {
    let value = SecretString::from(value);
    redaction::remember_for_good(&value);
    value
}
