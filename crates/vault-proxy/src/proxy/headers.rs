//! Headers that are not passed on: they speak of one connection, or say who somebody is.

use http::header::{CONNECTION, COOKIE, EXPECT, HOST, TE, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Of the connection, not of the message (RFC 9110, 7.6.1). `trailer` stays: it speaks of the body.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];
/// What only proxies say about those before them, and what would ask for HTTP/2 in clear.
const OF_PROXIES: [&str; 4] = ["forwarded", "x-real-ip", "http2-settings", "alt-used"];
const FORWARDED: &str = "x-forwarded-";
const OURS: &str = "x-lap-";
/// By which some servers take one request for another: with these a rule about methods and paths would mean nothing.
const OVERRIDES: [&str; 5] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
];

/// Leaves of a request's headers what is for the server. Its `Host` goes too: it is told again from the host that was checked.
pub fn clean_request(headers: &mut HeaderMap) {
    let wants_trailers = headers
        .get_all(TE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|one| one.trim().eq_ignore_ascii_case("trailers")));
    remove_hop_by_hop(headers);
    if wants_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    headers.remove(HOST);
    // Answered here: whoever sends it waits for this proxy's leave.
    headers.remove(EXPECT);
    remove_all(headers, |name| {
        OF_PROXIES.contains(&name) || name.starts_with(FORWARDED) || name.starts_with(OURS)
    });
    join_cookies(headers);
}

/// Removes what could make a server see another request than the one that was allowed.
pub fn remove_overrides(headers: &mut HeaderMap) {
    remove_all(headers, |name| OVERRIDES.contains(&name));
}

/// Leaves of an answer's headers what is for the program.
pub fn clean_response(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    // It would lead to HTTP/3, which is closed.
    headers.remove("alt-svc");
    remove_all(headers, |name| name.starts_with(OURS));
}

/// The protocol that a request wants to change to, if that is one which this proxy passes on.
pub fn wanted_upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let is_asked = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|one| one.trim().eq_ignore_ascii_case("upgrade")));
    let wanted = headers.get(UPGRADE)?;
    let text = wanted.to_str().ok()?.to_ascii_lowercase();
    // In another version of HTTP, or in TLS, further requests would go by unseen.
    let is_hidden = |one: &str| {
        let one = one.trim();
        one == "h2c" || one == "h2" || one.starts_with("http/") || one.starts_with("tls/")
    };
    (is_asked && !text.split(',').any(is_hidden)).then(|| wanted.clone())
}

/// Marks a message as one that changes to another protocol.
pub fn set_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

fn remove_all(headers: &mut HeaderMap, is_removed: impl Fn(&str) -> bool) {
    let names: Vec<HeaderName> =
        headers.keys().filter(|name| is_removed(name.as_str())).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// HTTP/2 may split cookies into several fields, HTTP/1.1 may not (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let parts: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if parts.len() < 2 {
        return;
    }
    if let Ok(joined) = HeaderValue::from_bytes(&parts.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| {
                (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
            })
            .collect()
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_speaks_of_the_connection_stays_behind() {
        let mut request = headers(&[
            ("host", "a"),
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("proxy-authorization", "Basic x"),
            ("transfer-encoding", "chunked"),
            ("te", "gzip, trailers"),
            ("expect", "100-continue"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-lap-path", "transparent"),
            ("accept", "*/*"),
            ("content-length", "3"),
        ]);
        clean_request(&mut request);
        assert_eq!(names(&request), ["accept", "content-length", "te"]);
        assert_eq!(request["te"], "trailers");
    }

    #[test]
    fn cookies_in_parts_become_one() {
        let mut request = headers(&[("cookie", "a=1"), ("cookie", "b=2")]);
        clean_request(&mut request);
        assert_eq!(request.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }

    #[test]
    fn only_protocols_whose_requests_do_not_hide_are_changed_to() {
        let asks = |protocol| {
            wanted_upgrade(&headers(&[
                ("connection", "keep-alive, Upgrade"),
                ("upgrade", protocol),
            ]))
        };
        assert!(asks("websocket").is_some());
        assert!(asks("SPDY/3.1").is_some());
        for hidden in ["h2c", "HTTP/2.0", "websocket, h2c", "TLS/1.2"] {
            assert_eq!(asks(hidden), None, "{hidden}");
        }
        assert_eq!(wanted_upgrade(&headers(&[("upgrade", "websocket")])), None);
    }
}
