//! What a request asks for: at which host, and by which path.

use http::header::HOST;
use http::request::Parts;
use http::{StatusCode, Uri};
use platform_core::network::Host;

use super::reach::named;
use crate::refusal::Refusal;

/// Where a connection leads. Every request on it goes there and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub host: Host,
    pub port: u16,
    pub is_encrypted: bool,
}

impl Place {
    pub fn default_port(&self) -> u16 {
        if self.is_encrypted { 443 } else { 80 }
    }

    /// As it stands in a request: with its port only where that is not the scheme's own.
    pub fn authority(&self) -> String {
        if self.port == self.default_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Refuses a request that names another host in any of the places where a server may look for it.
    pub fn check_host(&self, head: &Parts) -> Result<(), Refusal> {
        let mut of_headers = head.headers.get_all(HOST).iter();
        let of_header = of_headers.next();
        if of_headers.next().is_some() {
            let message = "the request has more than one Host header";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "two_hosts", message));
        }
        let of_header = of_header.map(|value| value.to_str().unwrap_or("?"));
        let of_uri = head.uri.authority().map(http::uri::Authority::as_str);
        for text in of_uri.into_iter().chain(of_header) {
            let asked = Host::parse_with_port(text, self.default_port());
            if !asked.is_ok_and(|(host, port)| host == self.host && port == self.port) {
                return Err(self.misdirected(text));
            }
        }
        Ok(())
    }

    fn misdirected(&self, text: &str) -> Refusal {
        let asked: String = text.chars().filter(char::is_ascii_graphic).take(200).collect();
        let here = named(&self.host, self.port);
        Refusal::new(
            StatusCode::MISDIRECTED_REQUEST,
            "host_mismatch",
            format!("the connection was opened to {here}, and the request asks for {asked}"),
        )
        .with_remedy(format!(
            "a connection of its own to {asked} would be decided on by its own rule"
        ))
    }

    /// The absolute address of what is asked for.
    pub fn uri(&self, path_and_query: &str) -> Result<Uri, http::Error> {
        let scheme = if self.is_encrypted { "https" } else { "http" };
        let builder = Uri::builder().scheme(scheme).authority(self.authority());
        builder.path_and_query(path_and_query).build()
    }
}

/// The path decoded once, as rules speak of it. `None` when another reader might decode it further or walk it differently: a rule about
/// paths cannot be applied to such a one.
pub fn plain_path(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            let digits = after.get(..2)?;
            if !digits.iter().all(u8::is_ascii_hexdigit) {
                return None;
            }
            let digits = std::str::from_utf8(digits).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after.get(2..)?;
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    let decoded = String::from_utf8(bytes).ok()?;
    let is_odd = |c: char| c.is_control() || matches!(c, '%' | '\\' | ';' | '?' | '#');
    // A slash may stand at the end, and nowhere twice.
    let inside = decoded.strip_prefix('/')?;
    let mut segments = inside.strip_suffix('/').unwrap_or(inside).split('/');
    let is_plain = decoded == "/"
        || !decoded.contains(is_odd) && segments.all(|it| !matches!(it, "" | "." | ".."));
    // An encoded slash is one to some readers and none to others.
    let slashes = |text: &str| text.bytes().filter(|byte| *byte == b'/').count();
    (is_plain && slashes(&decoded) == slashes(path)).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(uri: &str, hosts: &[&str]) -> Parts {
        let mut request = http::Request::get(uri);
        for host in hosts {
            request = request.header("host", *host);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_request_goes_where_its_connection_leads() {
        let place = Place { host: "example.com".parse().unwrap(), port: 443, is_encrypted: true };
        for (uri, hosts) in [
            ("/", &["example.com"][..]),
            ("/", &["Example.com.:443"]),
            ("https://example.com/", &["example.com"]),
            ("https://example.com/", &[]),
            ("/", &[]),
        ] {
            assert_eq!(place.check_host(&head(uri, hosts)), Ok(()), "{uri} {hosts:?}");
        }
        for (uri, hosts, code) in [
            ("/", &["other.com"][..], "host_mismatch"),
            ("/", &["example.com:8443"], "host_mismatch"),
            ("/", &["example.com", "example.com"], "two_hosts"),
            ("/", &["example.com", "other.com"], "two_hosts"),
            ("/", &["user@example.com"], "host_mismatch"),
            ("/", &["0x7f000001"], "host_mismatch"),
            ("https://other.com/", &["example.com"], "host_mismatch"),
            ("https://example.com/", &["other.com"], "host_mismatch"),
            ("https://example.com@other.com/", &[], "host_mismatch"),
        ] {
            let refusal = place.check_host(&head(uri, hosts)).unwrap_err();
            assert_eq!(refusal.code, code, "{uri} {hosts:?}");
        }
    }

    #[test]
    fn a_place_is_named_as_its_scheme_does() {
        let place = |host: &str, port, is_encrypted| {
            Place { host: host.parse().unwrap(), port, is_encrypted }
                .uri("/a?b")
                .unwrap()
                .to_string()
        };
        assert_eq!(place("example.com", 443, true), "https://example.com/a?b");
        assert_eq!(place("example.com", 443, false), "http://example.com:443/a?b");
        assert_eq!(place("2a00::1", 80, false), "http://[2a00::1]/a?b");
    }

    #[test]
    fn only_paths_that_every_reader_sees_alike_are_plain() {
        for (path, plain) in [("/", "/"), ("/a/b/", "/a/b/"), ("/a%20b", "/a b"), ("/%61", "/a")] {
            assert_eq!(plain_path(path).as_deref(), Some(plain), "{path}");
        }
        for path in [
            "",
            "a",
            "//",
            "/a//b",
            "/../a",
            "/a/.",
            "/%2e%2e/a",
            "/a%2fb",
            "/a;b",
            "/a%",
            "/a%+1",
            "/%00",
            "/%ff",
            "/a%255c",
            "/a\\b",
        ] {
            assert_eq!(plain_path(path), None, "{path}");
        }
    }
}
