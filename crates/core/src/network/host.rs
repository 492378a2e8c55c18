//! Hosts as requests name them, and patterns of hosts as rules do.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A host in its one plain spelling: a name in lower case without a dot at its end, or an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    Name(String),
    Address(IpAddr),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHost {
    #[error("{0:?} is no host name and no IP address in its usual notation")]
    Host(String),
    #[error("{0:?} is no port")]
    Port(String),
}

impl Host {
    /// The name; `None` for an address.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            Self::Address(_) => None,
        }
    }

    /// The address; `None` for a name.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Name(_) => None,
            Self::Address(address) => Some(*address),
        }
    }

    /// Reads `host:port`, `[v6]:port`, or a host alone, which has the default port.
    pub fn parse_with_port(text: &str, default_port: u16) -> Result<(Self, u16), InvalidHost> {
        let (host, port) = split_port(text);
        let port = match port {
            None => default_port,
            Some(port) => parse_port(port)?,
        };
        Ok((host.parse()?, port))
    }
}

impl FromStr for Host {
    type Err = InvalidHost;

    /// Refuses what other readers would take for an address written in another way: `0x7f.1`, `2130706433`, `0177.0.0.1`.
    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        let invalid = || InvalidHost::Host(text.chars().take(80).collect());
        if let Some(inside) = text.strip_prefix('[') {
            let address = inside.strip_suffix(']').ok_or_else(invalid)?;
            let address: Ipv6Addr = address.parse().map_err(|_| invalid())?;
            return Ok(Self::Address(address.into()));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Address(address.into()));
        }
        if let Ok(address) = text.parse::<Ipv6Addr>() {
            return Ok(Self::Address(address.into()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if !is_name(name) {
            return Err(invalid());
        }
        Ok(Self::Name(name.to_ascii_lowercase()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => formatter.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(formatter),
            Self::Address(IpAddr::V6(address)) => write!(formatter, "[{address}]"),
        }
    }
}

/// `example.com`, `*.example.com` (any name below it, not itself), an address; `:port` behind it or the usual ports of the web.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPattern {
    kind: PatternKind,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum PatternKind {
    Exactly(Host),
    /// With the dot before it.
    Below(String),
}

/// What a pattern without a port allows.
const USUAL_PORTS: [u16; 2] = [80, 443];

impl HostPattern {
    pub fn matches(&self, host: &Host, port: u16) -> bool {
        self.matches_host(host) && self.allows_port(port)
    }

    /// As [`HostPattern::matches`], whatever the port.
    pub fn matches_host(&self, host: &Host) -> bool {
        match (&self.kind, host) {
            (PatternKind::Exactly(exactly), host) => exactly == host,
            (PatternKind::Below(suffix), Host::Name(name)) => {
                name.len() > suffix.len() && name.ends_with(suffix.as_str())
            }
            (PatternKind::Below(_), Host::Address(_)) => false,
        }
    }

    /// The port that it names.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    fn allows_port(&self, port: u16) -> bool {
        self.port.map_or_else(|| USUAL_PORTS.contains(&port), |allowed| allowed == port)
    }
}

impl FromStr for HostPattern {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        let (host, port) = split_port(text);
        let port = port.map(parse_port).transpose()?;
        let kind = match host.strip_prefix("*.") {
            Some(parent) => {
                let Host::Name(name) = parent.parse()? else {
                    return Err(InvalidHost::Host(text.chars().take(80).collect()));
                };
                PatternKind::Below(format!(".{name}"))
            }
            None => PatternKind::Exactly(host.parse()?),
        };
        Ok(Self { kind, port })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            PatternKind::Exactly(host) => host.fmt(formatter)?,
            PatternKind::Below(suffix) => write!(formatter, "*{suffix}")?,
        }
        match self.port {
            Some(port) => write!(formatter, ":{port}"),
            None => Ok(()),
        }
    }
}

impl Serialize for HostPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HostPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// An IPv6 address without brackets has more than one colon, and no port.
fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((host, port)) if host.ends_with(']') || !host.contains(':') => (host, Some(port)),
        Some(_) | None => (text, None),
    }
}

fn parse_port(text: &str) -> Result<u16, InvalidHost> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if is_plain && port > 0 => Ok(port),
        Ok(_) | Err(_) => Err(InvalidHost::Port(text.chars().take(20).collect())),
    }
}

/// Letters, digits, hyphens and underscores between dots, and no last label that a reader could take for a number.
fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    let digits = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X")).unwrap_or(last);
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
        || (digits.len() < last.len() && digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    name.len() <= 253 && !is_number && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_notations_of_numbers_are_no_hosts() {
        for text in [
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "127.1",
            "0x7f.0.0.1",
            "1.2.3.0x4",
            "",
            "a b",
        ] {
            assert!(text.parse::<Host>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_host_has_one_spelling() {
        assert_eq!("API.Example.com.".parse(), Ok(Host::Name("api.example.com".to_owned())));
        assert_eq!("[::1]".parse::<Host>().unwrap(), "::1".parse::<Host>().unwrap());
        assert_eq!(Host::parse_with_port("[::1]:8", 443).unwrap().0.to_string(), "[::1]");
        assert_eq!(Host::parse_with_port("a.b:81", 443).unwrap().1, 81);
        assert!(Host::parse_with_port("a.b:0", 443).is_err());
        assert!(Host::parse_with_port("a.b:+1", 443).is_err());
        assert!(Host::parse_with_port("a.b:", 443).is_err());
    }

    #[test]
    fn a_pattern_matches_its_host_on_its_ports() {
        let matches = |pattern: &str, host: &str, port| {
            let pattern: HostPattern = pattern.parse().unwrap();
            assert_eq!(pattern.to_string().parse(), Ok(pattern.clone()));
            pattern.matches(&host.parse().unwrap(), port)
        };
        assert!(matches("example.com", "EXAMPLE.com", 443));
        assert!(!matches("example.com", "example.com", 22));
        assert!(matches("example.com:22", "example.com", 22));
        assert!(!matches("example.com:22", "example.com", 443));
        assert!(!matches("example.com", "a.example.com", 443));
        assert!(matches("*.example.com", "a.b.example.com", 80));
        assert!(!matches("*.example.com", "example.com", 443));
        assert!(!matches("*.example.com", "evilexample.com", 443));
        assert!(matches("127.0.0.1:8080", "127.0.0.1", 8080));
        assert!(matches("[::1]:8080", "[::1]", 8080));
    }

    #[test]
    fn patterns_that_say_too_much_are_refused() {
        for text in ["*", "*.", "https://a.b", "a.b/c", "a.*", "*.1.2.3.4", "a.b:99999"] {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
    }
}
