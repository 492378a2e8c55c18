//! Hosts as a sandbox names them, addresses as a resolver gives them, and what the rules say to both.

use std::net::IpAddr;

use platform_core::environment::Networking;
use platform_core::network::{
    AddressClass, Denied, Host, HostPattern, NetworkPolicy, Target as Wanted, classify,
};
use reqwest::Url;

use crate::Target;

pub const TARGET: Target = Target {
    name: "network_rules",
    check,
    words: &[
        "\n",
        "*.",
        ".",
        ":443",
        ":80",
        ":0",
        ":65536",
        "example.com",
        "0x7f.1",
        "2130706433",
        "0177.0.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "[::1]",
        "[::ffff:10.0.0.1]",
        "64:ff9b::",
        "2002:",
        "xn--",
        "_",
        "-",
        "@",
        "%2e",
        "localhost",
        "pypi.org",
    ],
};

/// A pattern in the first line, a host with or without its port in the second.
fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (pattern, wanted) = text.split_once('\n').unwrap_or(("*.example.com", text));
    let pattern = pattern.parse::<HostPattern>().ok();
    if let Some(pattern) = &pattern {
        assert_eq!(pattern.to_string().parse().as_ref(), Ok(pattern), "it is written differently");
    }
    let Ok((host, port)) = Host::parse_with_port(wanted, 443) else { return };
    assert_eq!(host.to_string().parse().as_ref(), Ok(&host), "it is written differently");
    match &host {
        Host::Name(name) => is_a_name_to_everybody(name),
        Host::Address(address) => is_classified(*address),
    }
    let pattern = pattern.filter(|pattern| pattern.matches(&host, port));
    let hosts = pattern.iter().map(ToString::to_string).collect();
    let decided = policy(hosts).decide(Wanted { host: &host, port, request: None });
    let is_metadata =
        host.address().is_some_and(|address| classify(address) == AddressClass::Metadata);
    assert_eq!(decided.is_ok(), pattern.is_some() && !is_metadata, "{decided:?}");
    if let Err(denied) = decided
        && !is_metadata
    {
        leads_to_leave(&denied, &host, port);
    }
}

fn policy(allowed_hosts: Vec<String>) -> NetworkPolicy {
    let networking = Networking::Limited {
        allowed_hosts,
        rules: Vec::new(),
        allow_mcp_servers: false,
        allow_package_managers: false,
    };
    NetworkPolicy::new(networking, &[], &[], Vec::new())
}

/// What is a name here may be an address to nobody, or the address would go unchecked.
fn is_a_name_to_everybody(name: &str) {
    if let Ok(url) = Url::parse(&format!("http://{name}/")) {
        assert_eq!(url.domain(), Some(name), "{url} has another host");
    }
}

fn is_classified(address: IpAddr) {
    let class = classify(address);
    let is_special = address.is_loopback() || address.is_multicast() || address.is_unspecified();
    let is_local = match address.to_canonical() {
        IpAddr::V4(address) => {
            address.is_private()
                || address.is_link_local()
                || address.is_broadcast()
                || address.is_loopback()
        }
        IpAddr::V6(address) => address.is_unique_local() || address.is_unicast_link_local(),
    };
    assert!(class != AddressClass::Public || !(is_special || is_local), "{address} is {class:?}");
    let canonical = classify(address.to_canonical());
    assert!(class != AddressClass::Public || canonical == AddressClass::Public, "{address}");
}

/// What a denial says would allow the request does allow it.
fn leads_to_leave(denied: &Denied, host: &Host, port: u16) {
    let quoted = denied.remedy.split('"').nth(1);
    let Some(entry) = quoted else { panic!("{denied} names no rule") };
    let decided = policy(vec![entry.to_owned()]).decide(Wanted { host, port, request: None });
    assert!(decided.is_ok(), "{denied}, but {entry} does not");
}
