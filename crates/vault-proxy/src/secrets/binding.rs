//! Which secret stands behind which placeholder, and where it may be used.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use platform_core::credential::InjectionLocation;
use platform_core::network::{Host, HostPattern};
use platform_sealing::HoneyValue;
use zeroize::Zeroizing;

/// A secret in clear. Zeroed when it is dropped; shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Zeroizing<Vec<u8>>);

impl SecretValue {
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for SecretValue {
    fn from(text: &str) -> Self {
        Self(Zeroizing::new(text.as_bytes().to_vec()))
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretValue")
    }
}

/// Where a secret may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hosts {
    /// Wherever the environment's networking lets a request go.
    Every,
    Only(Vec<HostPattern>),
}

impl Hosts {
    pub fn include(&self, host: &Host, port: u16) -> bool {
        match self {
            Self::Every => true,
            Self::Only(patterns) => patterns.iter().any(|pattern| pattern.matches(host, port)),
        }
    }

    /// Whether some port of the host is among them.
    pub fn include_host(&self, host: &Host) -> bool {
        match self {
            Self::Every => true,
            Self::Only(patterns) => patterns.iter().any(|pattern| pattern.matches_host(host)),
        }
    }
}

/// A secret with one place to be used at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretUse {
    pub value: SecretValue,
    pub hosts: Hosts,
    pub location: InjectionLocation,
}

/// A variable whose value in the sandbox is a placeholder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedSecret {
    pub name: String,
    /// The first is what a sandbox gets now. The others it may have from before the platform's key was changed, or placeholders had marks.
    pub placeholders: Vec<String>,
    /// More than one when several credentials have one name.
    pub uses: Vec<SecretUse>,
}

/// A token that is put into requests to one MCP server, of which nothing is in the sandbox.
#[derive(Debug, Clone)]
pub struct BearerToken {
    pub url: McpUrl,
    pub token: SecretValue,
    /// Set when the server did not take the token any more.
    pub was_refused: Arc<AtomicBool>,
}

/// An MCP server's address, as far as it says which requests are meant for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct McpUrl {
    pub is_https: bool,
    pub host: Host,
    pub port: u16,
    /// Without a slash at its end.
    pub path: String,
}

impl McpUrl {
    /// `None` for what is no `http` or `https` URL.
    pub fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (is_https, default_port) = match scheme {
            "https" => (true, 443),
            "http" => (false, 80),
            _ => return None,
        };
        let rest = rest.split(['?', '#']).next()?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = Host::parse_with_port(authority, default_port).ok()?;
        Some(Self { is_https, host, port, path: path.trim_end_matches('/').to_owned() })
    }

    /// Whether a path is the server's own or below it. A path that two readers may walk differently is not.
    pub fn has_below(&self, path: &str) -> bool {
        let is_odd = path.contains(['\\', ';'])
            || path.split('/').any(|segment| {
                matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
            });
        let below = path.strip_prefix(self.path.as_str());
        !is_odd && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// From what a session's secrets are made.
#[derive(Debug, Default)]
pub struct SecretsParts {
    pub named: Vec<NamedSecret>,
    pub bearers: Vec<BearerToken>,
    /// Values that are planted for nobody to use.
    pub honey: Vec<HoneyValue>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_belongs_to_a_server_at_a_segment_s_border() {
        let url = McpUrl::parse("https://mcp.example.com/v1/mcp/").unwrap();
        assert_eq!((url.is_https, url.port), (true, 443));
        for (path, belongs) in [
            ("/v1/mcp", true),
            ("/v1/mcp/", true),
            ("/v1/mcp/messages", true),
            ("/v1/mcpx", false),
            ("/v1", false),
            ("/v1/mcp/../admin", false),
            ("/v1/mcp/%2E./admin", false),
            ("/v1/mcp;x", false),
        ] {
            assert_eq!(url.has_below(path), belongs, "{path}");
        }
        assert!(McpUrl::parse("https://mcp.example.com").unwrap().has_below("/any"));
        assert_eq!(McpUrl::parse("ftp://mcp.example.com"), None);
    }

    #[test]
    fn a_value_shows_nothing() {
        assert_eq!(format!("{:?}", SecretValue::from("hidden")), "SecretValue");
    }
}
