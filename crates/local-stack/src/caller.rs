//! What the person who starts the stack says: the environment, then a `.env` file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::dotenv;

/// What every process of the stack may see of its caller's environment.
const BASICS: [&str; 9] = [
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "RUST_LOG",
    "RUST_BACKTRACE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];
/// Families of settings that reach the platform's services unread.
const SERVICE_PREFIXES: [&str; 3] = ["LAP__", "CONTAINER_ENV_", "OTEL_"];
/// Settings that reach them likewise.
const SERVICE_NAMES: [&str; 2] = ["SANDBOX_BACKEND", "KUBECONFIG"];
const CACHE_NAMES: [&str; 2] = ["LAP_CACHE_DIR", "XDG_CACHE_HOME"];

/// The variables that a caller gave. An empty string is not a value.
#[derive(Debug, Clone)]
pub struct Caller {
    variables: BTreeMap<String, String>,
}

impl Caller {
    /// All that this process was given; what only `.env` in `root` says comes second.
    #[must_use]
    pub fn of_this_process(root: &Path) -> Self {
        let mut variables =
            fs::read_to_string(root.join(".env")).map(|t| dotenv::parse(&t)).unwrap_or_default();
        variables.extend(process_environment());
        variables.retain(|_, value| !value.is_empty());
        Self { variables }
    }

    /// Only what programs need to run at all. For tests: no developer's `DATABASE_URL` may reach them.
    #[must_use]
    pub fn bare() -> Self {
        let mut variables = process_environment();
        variables.retain(|name, value| {
            let name = name.as_str();
            !value.is_empty() && (BASICS.contains(&name) || CACHE_NAMES.contains(&name))
        });
        Self { variables }
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    pub(crate) fn basics(&self) -> BTreeMap<String, String> {
        self.select(|name| BASICS.contains(&name))
    }

    pub(crate) fn for_services(&self) -> BTreeMap<String, String> {
        self.select(|name| {
            SERVICE_NAMES.contains(&name)
                || SERVICE_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        })
    }

    pub(crate) fn select(&self, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
        let chosen = self.variables.iter().filter(|(name, _)| wanted(name));
        chosen.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Where tools are installed once for every clone of this user.
    pub(crate) fn cache_directory(&self) -> PathBuf {
        if let Some(directory) = self.get("LAP_CACHE_DIR") {
            return PathBuf::from(directory);
        }
        let caches = self.get("XDG_CACHE_HOME").map_or_else(
            || Path::new(self.get("HOME").unwrap_or("/")).join(".cache"),
            PathBuf::from,
        );
        caches.join("litellm-agent-platform")
    }
}

/// Variables that are no Unicode cannot be settings of ours.
fn process_environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(pairs: &[(&str, &str)]) -> Caller {
        let mut caller = Caller { variables: BTreeMap::new() };
        for (name, value) in pairs {
            caller.set(name, value);
        }
        caller
    }

    #[test]
    fn services_see_only_the_settings_meant_for_them() {
        let caller = caller(&[
            ("AWS_SECRET_ACCESS_KEY", "no"),
            ("LAP__A__B", "yes"),
            ("CONTAINER_ENV_GITHUB_TOKEN", "yes"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "yes"),
        ]);
        let names: Vec<String> = caller.for_services().into_keys().collect();
        let expected = ["CONTAINER_ENV_GITHUB_TOKEN", "LAP__A__B", "OTEL_EXPORTER_OTLP_ENDPOINT"];
        assert_eq!(names, expected);
    }

    #[test]
    fn the_cache_follows_the_most_specific_setting() {
        let home = caller(&[("HOME", "/h")]);
        assert_eq!(home.cache_directory(), Path::new("/h/.cache/litellm-agent-platform"));
        let xdg = caller(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]);
        assert_eq!(xdg.cache_directory(), Path::new("/x/litellm-agent-platform"));
        let own = caller(&[("XDG_CACHE_HOME", "/x"), ("LAP_CACHE_DIR", "/own")]);
        assert_eq!(own.cache_directory(), Path::new("/own"));
    }
}
