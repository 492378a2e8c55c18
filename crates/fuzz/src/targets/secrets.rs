//! Requests with placeholders in them, and answers with values, as vault-proxy lets them pass.

use std::sync::LazyLock;

use bytes::Bytes;
use futures::executor::block_on;
use futures::stream;
use http::request::Parts;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use platform_core::credential::InjectionLocation;
use platform_core::network::Host;
use platform_sealing::HoneyValue;
use vault_proxy::rules::{Body, BoxError, Injected, Injection, Secrets};
use vault_proxy::secrets::{Hosts, NamedSecret, SecretUse, SecretValue, SecretsParts};

use crate::Target;

pub const TARGET: Target = Target {
    name: "secrets",
    check,
    words: &[
        PLACEHOLDER,
        "Basic eDpnaHBfUExBQ0VIT0xERVJwbGFjZWhvbGRlcjAxMjM0NTY3ODk=",
        "bkp_PLANTEDplanted0123456789",
        "ghp_REAL/real+0123456789",
        "Authorization: ",
        "Bearer ",
        "\n",
        "\n\n",
        "GET ",
        "POST ",
        "/a?b=",
        "Content-Type: application/json",
        "Content-Type: application/x-www-form-urlencoded",
        "Content-Encoding: gzip",
        "Content-Length: 7",
        "%67",
    ],
};

const PLACEHOLDER: &str = "ghp_PLACEHOLDERplaceholder0123456789";
/// Its forms differ: it has bytes that are written in other ways in URLs and JSON.
const VALUE: &str = "ghp_REAL/real+0123456789";
const PLANTED: &str = "bkp_PLANTEDplanted0123456789";
const OWN_HOST: &str = "api.example.com";

/// What a credential allows: nothing, then one after the other of header, body, query and Basic authorization.
static SECRETS: LazyLock<Vec<(InjectionLocation, Secrets)>> = LazyLock::new(|| {
    let locations = (0..16_u8).map(|bits| InjectionLocation {
        header: bits & 1 != 0,
        body: bits & 2 != 0,
        query: bits & 4 != 0,
        basic: bits & 8 != 0,
    });
    locations.map(|location| (location, secrets(location))).collect()
});

fn secrets(location: InjectionLocation) -> Secrets {
    let pattern = OWN_HOST.parse().map_or_else(|_| Vec::new(), |pattern| vec![pattern]);
    let one = SecretUse { value: SecretValue::from(VALUE), hosts: Hosts::Only(pattern), location };
    let named = NamedSecret {
        name: "TOKEN".to_owned(),
        placeholders: vec![PLACEHOLDER.to_owned()],
        uses: vec![one],
    };
    let honey = HoneyValue { name: "backup_token", value: PLANTED.to_owned() };
    Secrets::new(SecretsParts { named: vec![named], bearers: Vec::new(), honey: vec![honey] })
}

/// The first byte says what the credential allows, whether the request goes to its host and whether over TLS; the second one how bodies
/// are cut. Then comes a request, as text. Its body is also what the server answers with, which gives away the value.
fn check(input: &[u8]) {
    let [choices, size, text @ ..] = input else { return };
    let Some((location, secrets)) = SECRETS.get(usize::from(choices & 15)) else { return };
    let (is_own, is_encrypted) = (choices & 16 != 0, choices & 32 != 0);
    let size = usize::from(size % 48) + 1;
    let Some((mut head, body)) = request(text) else { return };
    let Ok(host) = if is_own { OWN_HOST } else { "example.com" }.parse::<Host>() else { return };
    let target = Injection { host: &host, port: 443, is_encrypted, is_internal: false };
    let is_searchable = head.headers.get("content-encoding").is_none_or(|it| it == "identity");

    let before = written(&head);
    let Ok(injected) = secrets.inject(&target, &mut head) else { return };
    let may_have = is_own && is_encrypted;
    let head_text = written(&head);
    assert!(!holds(&head_text, PLACEHOLDER), "a placeholder leaves in the head");
    assert!(!holds(&head_text, PLANTED), "a planted value leaves in the head");
    let gained = count(&head_text, VALUE) > count(&before, VALUE);
    assert!(
        !gained || may_have && (location.header || location.basic || location.query),
        "a value went astray"
    );

    let sent = collect(injected.request_body(&mut head, cut(&body, size)));
    let whole = collect(injected.request_body(&mut head, cut(&body, usize::MAX)));
    assert_eq!(sent.as_ref().ok(), whole.as_ref().ok(), "it matters how the body is cut");
    if let Ok(sent) = &sent
        && is_searchable
    {
        assert!(!holds(sent, PLACEHOLDER) && !holds(sent, PLANTED), "it leaves in the body");
        let gained = count(sent, VALUE) > count(&body, VALUE);
        assert!(!gained || may_have && location.body, "a value went astray in the body");
    }
    if head_text != before || (may_have && location.body) {
        comes_back_without_it(&injected, &body, size);
    }
}

/// A server that gives away what it was sent.
fn comes_back_without_it(injected: &Injected, body: &[u8], size: usize) {
    let leaky = replaced(body, PLACEHOLDER, VALUE);
    let mut answers = [size, usize::MAX].into_iter().map(|size| {
        let mut response = Response::new(cut(&leaky, size));
        let header = HeaderValue::from_str(&format!("t={VALUE}; x"));
        response.headers_mut().extend(header.map(|value| (http::header::SET_COOKIE, value)));
        let (head, body) = injected.response(response).into_parts();
        let shown = head.headers.values().any(|value| holds(value.as_bytes(), VALUE));
        assert!(!shown, "a value comes back in a header");
        collect(body).ok()
    });
    let (in_pieces, whole) = (answers.next(), answers.next());
    assert_eq!(in_pieces, whole, "it matters how the answer is cut");
    let Some(Some(came)) = whole else { panic!("an answer that is only text broke off") };
    assert!(!holds(&came, VALUE), "a value comes back");
}

/// `METHOD target`, then lines of headers, an empty line, and the body.
fn request(text: &[u8]) -> Option<(Parts, Vec<u8>)> {
    let end = text.windows(2).position(|pair| pair == b"\n\n").unwrap_or(text.len());
    let (head, body) = text.split_at(end);
    let mut lines = head.split(|byte| *byte == b'\n');
    let first = lines.next()?;
    let space = first.iter().position(|byte| *byte == b' ')?;
    let (method, target) = first.split_at(space);
    // Where the connection leads was decided on before; what is asked for there begins with a slash.
    let target = target.get(1..).filter(|target| target.starts_with(b"/"))?;
    let mut request = Request::builder().method(method).uri(target);
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at(colon);
        request = request.header(name, value.get(1..)?.trim_ascii());
    }
    let body = body.get(2..).unwrap_or_default().to_vec();
    Some((request.body(()).ok()?.into_parts().0, body))
}

/// The head's texts, one after the other.
fn written(head: &Parts) -> Vec<u8> {
    let mut text = head.uri.to_string().into_bytes();
    for (name, value) in &head.headers {
        text.push(b'\n');
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
    }
    text
}

fn cut(body: &[u8], size: usize) -> Body {
    let pieces: Vec<_> = body.chunks(size).map(Bytes::copy_from_slice).collect();
    let frames =
        stream::iter(pieces.into_iter().map(|piece| Ok::<_, BoxError>(Frame::data(piece))));
    StreamBody::new(frames).boxed_unsync()
}

fn collect(body: Body) -> Result<Vec<u8>, BoxError> {
    Ok(block_on(body.collect())?.to_bytes().to_vec())
}

fn replaced(text: &[u8], what: &str, with: &str) -> Vec<u8> {
    let mut result = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(what.len()).position(|window| window == what.as_bytes()) {
        result.extend_from_slice(rest.get(..at).unwrap_or_default());
        result.extend_from_slice(with.as_bytes());
        rest = rest.get(at + what.len()..).unwrap_or_default();
    }
    result.extend_from_slice(rest);
    result
}

fn holds(text: &[u8], what: &str) -> bool {
    count(text, what) > 0
}

fn count(text: &[u8], what: &str) -> usize {
    text.windows(what.len()).filter(|window| *window == what.as_bytes()).count()
}
