//! The rules of one session's way out, and what they say to a request.

use crate::agent::McpServer;
use crate::environment::{HostRule, Networking};

use super::{AddressClass, Host, HostPattern, classify};

/// Hosts of the usual package managers.
pub const PACKAGE_HOSTS: [&str; 22] = [
    "registry.npmjs.org",
    "registry.yarnpkg.com",
    "npm.jsr.io",
    "pypi.org",
    "files.pythonhosted.org",
    "crates.io",
    "index.crates.io",
    "static.crates.io",
    "proxy.golang.org",
    "sum.golang.org",
    "storage.googleapis.com",
    "rubygems.org",
    "index.rubygems.org",
    "repo.maven.apache.org",
    "repo1.maven.org",
    "deb.debian.org",
    "security.debian.org",
    "archive.ubuntu.com",
    "security.ubuntu.com",
    "ports.ubuntu.com",
    "dl-cdn.alpinelinux.org",
    "conda.anaconda.org",
];

/// What may leave a session's sandbox: the environment's networking, the agent's MCP servers, and what the team allows inside.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkPolicy {
    networking: Networking,
    /// Hosts of the agent's MCP servers.
    mcp_hosts: Vec<(HostPattern, String)>,
    package_hosts: Vec<HostPattern>,
    internal_hosts: Vec<HostPattern>,
}

/// Where a request wants to go.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    pub host: &'a Host,
    pub port: u16,
    /// What is asked there, once that can be seen.
    pub request: Option<Request<'a>>,
}

#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub method: &'a str,
    /// Without the query, in its plain form (decoded once, no dot segments).
    pub path: &'a str,
}

/// The request may leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// Which rule says so, e.g. `allowed_hosts: *.example.com`.
    pub rule: String,
    /// Whether the rule looks at methods or paths, so that TLS has to be terminated to apply it.
    pub needs_request: bool,
    /// Whether the host may have an address that is not public.
    pub may_be_internal: bool,
}

/// The request may not leave.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}; {remedy}")]
pub struct Denied {
    /// Stable, for programs.
    pub code: &'static str,
    pub reason: String,
    /// The rule that would allow it.
    pub remedy: String,
}

impl NetworkPolicy {
    /// `package_hosts` are further ones beside [`PACKAGE_HOSTS`], `internal_hosts` those that the team may reach although their
    /// addresses are not public.
    pub fn new(
        networking: Networking,
        mcp_servers: &[McpServer],
        package_hosts: &[HostPattern],
        internal_hosts: Vec<HostPattern>,
    ) -> Self {
        let mcp_hosts = mcp_servers.iter().filter_map(|server| {
            let pattern = host_of_url(&server.url)?;
            Some((pattern, server.name.clone()))
        });
        let known = PACKAGE_HOSTS.iter().filter_map(|host| host.parse().ok());
        Self {
            networking,
            mcp_hosts: mcp_hosts.collect(),
            package_hosts: known.chain(package_hosts.iter().cloned()).collect(),
            internal_hosts,
        }
    }

    /// The ports beside 80 and 443 that the rules name, so that programs which know no proxy reach them as well.
    pub fn named_ports(&self) -> Vec<u16> {
        let rules: &[HostRule] = match &self.networking {
            Networking::Unrestricted => &[],
            Networking::Limited { rules, .. } => rules,
        };
        let hosts = match &self.networking {
            Networking::Unrestricted => &[][..],
            Networking::Limited { allowed_hosts, .. } => allowed_hosts.as_slice(),
        };
        let patterns = hosts
            .iter()
            .filter_map(|host| host.parse::<HostPattern>().ok())
            .chain(rules.iter().map(|rule| rule.host.clone()))
            .chain(self.internal_hosts.iter().cloned())
            .chain(self.mcp_hosts.iter().map(|(pattern, _)| pattern.clone()));
        let mut ports: Vec<u16> = patterns.filter_map(|pattern| pattern.port()).collect();
        ports.sort_unstable();
        ports.dedup();
        ports.retain(|port| ![80, 443].contains(port));
        ports
    }

    /// Whether a request to the target may leave. Says nothing yet about the addresses that the host turns out to have.
    pub fn decide(&self, target: Target<'_>) -> Result<Allowed, Denied> {
        let class = target.host.address().map(classify);
        if class == Some(AddressClass::Metadata) {
            return Err(metadata_denied(target));
        }
        let may_be_internal = self.is_internal(target.host, target.port);
        let allowed = |rule: String, needs_request: bool| {
            Ok(Allowed { rule, needs_request, may_be_internal })
        };
        let Networking::Limited { allowed_hosts, rules, allow_mcp_servers, allow_package_managers } =
            &self.networking
        else {
            return allowed("networking: unrestricted".to_owned(), false);
        };
        // What is said about methods and paths of a host is the whole truth about it.
        let mut of_host =
            rules.iter().filter(|rule| rule.host.matches(target.host, target.port)).peekable();
        if of_host.peek().is_some() {
            let Some(request) = target.request else {
                let rule = of_host.next().map(|rule| rule.host.to_string()).unwrap_or_default();
                return allowed(format!("rules: {rule}"), true);
            };
            return match of_host.find(|rule| rule.permits(request.method, request.path)) {
                Some(rule) => allowed(format!("rules: {rule}"), true),
                None => Err(request_denied(target.host, request)),
            };
        }
        for text in allowed_hosts {
            let pattern = text.parse::<HostPattern>().ok();
            if pattern.is_some_and(|pattern| pattern.matches(target.host, target.port)) {
                return allowed(format!("allowed_hosts: {text}"), false);
            }
        }
        let is_packages = self.package_hosts.iter().any(|p| p.matches(target.host, target.port));
        if is_packages && *allow_package_managers {
            return allowed("allow_package_managers".to_owned(), false);
        }
        let mcp = self.mcp_hosts.iter().find(|(p, _)| p.matches(target.host, target.port));
        if let Some((_, name)) = mcp
            && *allow_mcp_servers
        {
            return allowed(format!("allow_mcp_servers: {name}"), false);
        }
        Err(host_denied(target, is_packages, mcp.is_some()))
    }

    /// Whether only named hosts may be reached.
    pub fn is_limited(&self) -> bool {
        match self.networking {
            Networking::Unrestricted => false,
            Networking::Limited { .. } => true,
        }
    }

    /// Whether the team lets this host have an address that is not public.
    pub fn is_internal(&self, host: &Host, port: u16) -> bool {
        self.internal_hosts.iter().any(|pattern| pattern.matches(host, port))
    }
}

fn host_denied(target: Target<'_>, is_packages: bool, is_mcp: bool) -> Denied {
    let Target { host, port, .. } = target;
    let entry = if [80, 443].contains(&port) { host.to_string() } else { format!("{host}:{port}") };
    let remedy = if is_packages {
        format!(
            "allow_package_managers: true in the environment's networking, or allowed_hosts with {entry:?}, would allow it"
        )
    } else if is_mcp {
        format!(
            "allow_mcp_servers: true in the environment's networking, or allowed_hosts with {entry:?}, would allow it"
        )
    } else {
        format!("allowed_hosts with {entry:?} in the environment's networking would allow it")
    };
    let remedy = match host.address().map(classify) {
        None | Some(AddressClass::Public) => remedy,
        Some(class) => format!(
            "{remedy}, if the team's internal_hosts name it as well, because it is {}",
            class.as_words()
        ),
    };
    let reason = format!("{host}:{port} is not among the hosts that this environment allows");
    Denied { code: "host_not_allowed", reason, remedy }
}

fn metadata_denied(target: Target<'_>) -> Denied {
    Denied {
        code: "metadata_address",
        reason: format!(
            "{}:{} is a cloud's metadata service, which hands out credentials",
            target.host, target.port
        ),
        remedy: "no rule allows it".to_owned(),
    }
}

fn request_denied(host: &Host, request: Request<'_>) -> Denied {
    let Request { method, path } = request;
    let path: String = path.chars().take(200).collect();
    Denied {
        code: "request_not_allowed",
        reason: format!(
            "{method} {path} is not among the requests that this environment allows at {host}"
        ),
        remedy: format!(
            "a rule {{\"host\": \"{host}\", \"methods\": [\"{method}\"], \"paths\": [\"{path}\"]}} in the environment's networking would allow it"
        ),
    }
}

/// The host of an `http` or `https` URL, with its port.
fn host_of_url(url: &str) -> Option<HostPattern> {
    let (scheme, rest) = url.split_once("://")?;
    let port = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next()?;
    let authority = authority.rsplit('@').next()?;
    let (host, port) = Host::parse_with_port(authority, port).ok()?;
    format!("{host}:{port}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(hosts: &[&str], rules: Vec<HostRule>) -> NetworkPolicy {
        let networking = Networking::Limited {
            allowed_hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
            rules,
            allow_mcp_servers: true,
            allow_package_managers: false,
        };
        let mcp = McpServer {
            kind: "url".to_owned(),
            name: "tracker".to_owned(),
            url: "https://mcp.example.org:8443/mcp".to_owned(),
        };
        NetworkPolicy::new(networking, &[mcp], &[], vec!["git.corp:8080".parse().unwrap()])
    }

    fn decide(policy: &NetworkPolicy, host: &str, port: u16) -> Result<Allowed, Denied> {
        policy.decide(Target { host: &host.parse().unwrap(), port, request: None })
    }

    #[test]
    fn a_denial_names_the_rule_that_would_allow_it() {
        let policy = limited(&["*.example.com", "db.example.net:5432"], Vec::new());
        assert_eq!(
            decide(&policy, "a.example.com", 443).unwrap().rule,
            "allowed_hosts: *.example.com"
        );
        assert!(decide(&policy, "db.example.net", 5432).is_ok());
        let denied = decide(&policy, "db.example.net", 5433).unwrap_err();
        assert!(denied.remedy.contains("\"db.example.net:5433\""), "{denied}");
        let denied = decide(&policy, "pypi.org", 443).unwrap_err();
        assert!(denied.remedy.contains("allow_package_managers"), "{denied}");
        assert_eq!(
            decide(&policy, "mcp.example.org", 8443).unwrap().rule,
            "allow_mcp_servers: tracker"
        );
        assert_eq!(policy.named_ports(), [5432, 8080, 8443]);
    }

    #[test]
    fn rules_about_requests_are_the_whole_truth_about_their_host() {
        let rule = HostRule {
            host: "api.example.com".parse().unwrap(),
            methods: vec!["GET".to_owned()],
            paths: vec!["/repos/*".to_owned()],
        };
        let policy = limited(&["api.example.com"], vec![rule]);
        let host = "api.example.com".parse().unwrap();
        let ask = |method, path| {
            policy.decide(Target {
                host: &host,
                port: 443,
                request: Some(Request { method, path }),
            })
        };
        assert!(decide(&policy, "api.example.com", 443).unwrap().needs_request);
        assert!(ask("GET", "/repos/a/b").is_ok());
        assert_eq!(ask("POST", "/repos/a").unwrap_err().code, "request_not_allowed");
        assert!(ask("GET", "/user").is_err());
    }

    #[test]
    fn a_metadata_service_is_reached_by_no_rule() {
        let address = "169.254.169.254";
        for policy in [
            limited(&[address], Vec::new()),
            NetworkPolicy::new(Networking::Unrestricted, &[], &[], vec![address.parse().unwrap()]),
        ] {
            assert_eq!(decide(&policy, address, 80).unwrap_err().code, "metadata_address");
        }
        let denied = decide(&limited(&[], Vec::new()), "10.0.0.1", 80).unwrap_err();
        assert!(denied.remedy.contains("internal_hosts"), "{denied}");
    }

    #[test]
    fn only_what_the_team_names_may_be_internal() {
        let policy = NetworkPolicy::new(
            Networking::Unrestricted,
            &[],
            &[],
            vec!["git.corp:8080".parse().unwrap()],
        );
        assert!(decide(&policy, "git.corp", 8080).unwrap().may_be_internal);
        assert!(!decide(&policy, "git.corp", 443).unwrap().may_be_internal);
    }
}
