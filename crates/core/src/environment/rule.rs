//! What is allowed at one host, by method and path.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::network::HostPattern;

/// Allows some requests to a host. TLS to it is terminated, so that they can be seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct HostRule {
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub host: HostPattern,
    /// Empty: every method.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Paths; one with `*` at its end allows everything that begins so. Empty: every path.
    #[serde(default)]
    pub paths: Vec<String>,
}

impl HostRule {
    /// Whether a request is among those that it allows. `path` is in its plain form.
    pub fn permits(&self, method: &str, path: &str) -> bool {
        let is_method = |allowed: &String| allowed.eq_ignore_ascii_case(method);
        let is_path = |allowed: &String| match allowed.strip_suffix('*') {
            Some(beginning) => path.starts_with(beginning),
            None => path == allowed,
        };
        (self.methods.is_empty() || self.methods.iter().any(is_method))
            && (self.paths.is_empty() || self.paths.iter().any(is_path))
    }
}

impl fmt::Display for HostRule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.host)?;
        if !self.methods.is_empty() {
            write!(formatter, " {}", self.methods.join(","))?;
        }
        if !self.paths.is_empty() {
            write!(formatter, " {}", self.paths.join(","))?;
        }
        Ok(())
    }
}
