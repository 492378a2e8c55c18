//! One request to another host and its answer: decided on, given its credentials, passed on, and recorded.

use std::error::Error;
use std::sync::Arc;

use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use platform_core::egress::Verdict;
use platform_core::network::{Allowed, Host, Request as Asked, Target};

use super::asked::{Place, plain_path};
use super::counted::CountedBody;
use super::headers::{clean_request, clean_response, remove_overrides, wanted_upgrade};
use super::reach::ReachError;
use super::record::Record;
use super::upstream::SendError;
use super::websocket::is_websocket;
use super::{Seat, Way, switch};
use crate::refusal::Refusal;
use crate::rules::{Body, BoxError, Injected, Injection, Misuse, SessionRules};

/// The longest body that is gathered to tell its length.
const GATHERED_BYTES: u64 = 256 << 10;

/// A request that was allowed and has its credentials.
pub struct Ready {
    pub head: Parts,
    pub body: Body,
    pub injected: Injected,
    pub allowed: Allowed,
}

/// Answers a request with an absolute address, as programs send them to a proxy.
pub async fn answer_absolute(way: &Arc<Way>, request: Request<Incoming>) -> Response<Body> {
    match place_of(&request) {
        Ok(place) => answer(way, &place, request).await,
        Err(refusal) => {
            way.recorder.log_refusal(&refusal);
            refusal.into_response()
        }
    }
}

fn place_of(request: &Request<Incoming>) -> Result<Place, Refusal> {
    let refuse = |code, message: String| Refusal::new(StatusCode::BAD_REQUEST, code, message);
    let is_encrypted = match request.uri().scheme_str() {
        Some("http") => false,
        Some("https") => true,
        Some(_) | None => {
            let message = "only http and https leave this sandbox; open a tunnel with CONNECT";
            return Err(refuse("unknown_scheme", message.to_owned()));
        }
    };
    let authority = request.uri().authority().map_or("", http::uri::Authority::as_str);
    let default_port = if is_encrypted { 443 } else { 80 };
    let (host, port) = Host::parse_with_port(authority, default_port)
        .map_err(|error| refuse("invalid_host", error.to_string()))?;
    Ok(Place { host, port, is_encrypted })
}

/// Answers a request on a connection that leads to `place`.
pub async fn answer(way: &Arc<Way>, place: &Place, request: Request<Incoming>) -> Response<Body> {
    // An archived credential or a changed policy holds from the next request on, not from the next connection.
    let rules = match way.rules().await {
        Ok(rules) => rules,
        Err(refusal) => {
            way.recorder.log_refusal(&refusal);
            return refusal.into_response();
        }
    };
    let mut record = way.recorder.begin(rules.identity, &place.host, place.port);
    record.set_request(request.method(), request.uri().path());
    match pass_on(way, &rules, place, request, record).await {
        Ok(response) => response,
        Err(refused) => {
            let (refusal, mut record) = *refused;
            record.set_status(refusal.status);
            drop(record);
            refusal.into_response()
        }
    }
}

/// What was refused, and its record.
type Refused = Box<(Refusal, Record)>;

async fn pass_on(
    way: &Arc<Way>,
    rules: &Arc<SessionRules>,
    place: &Place,
    mut request: Request<Incoming>,
    mut record: Record,
) -> Result<Response<Body>, Refused> {
    let protocol = match request.version() {
        Version::HTTP_11 => wanted_upgrade(request.headers()),
        _ => None,
    };
    let from_sandbox =
        protocol.is_some().then(|| (hyper::upgrade::on(&mut request), Seat::of(&request)));
    let declared = declared_length(request.headers());
    let ready = match prepare(way, rules, place, request, &mut record) {
        Ok(ready) => ready,
        Err(refusal) => return Err(Box::new((refusal, record))),
    };
    // Only of a WebSocket is it known how to take values out of what comes back.
    let protocol = protocol.filter(|it| is_websocket(it) || ready.injected.scrubber().is_none());
    if let (Some(protocol), Some(from_sandbox)) = (protocol, from_sandbox) {
        return Box::pin(switch::pass_on(way, place, ready, record, protocol, from_sandbox)).await;
    }
    let Ready { head, body, injected, allowed } = ready;
    let body = match with_length(body, declared).await {
        Ok(body) => body,
        Err(error) => return Err(failed(place, &SendError::Broken(error), record)),
    };
    let sent = way.upstream.send(Request::from_parts(head, body), allowed.may_be_internal);
    match Box::pin(sent).await {
        Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            let message = "the host changed to another protocol, which nobody had asked for";
            let refusal = Refusal::new(StatusCode::BAD_GATEWAY, "host_failed", message);
            record.refuse(Verdict::Failed, &refusal);
            Err(Box::new((refusal, record)))
        }
        Ok(response) => Ok(answer_of(response, &injected, record)),
        Err(error) => Err(failed(place, &error, record)),
    }
}

/// Decides on the request and makes it what is sent. A refusal is noted in the record.
fn prepare(
    way: &Arc<Way>,
    rules: &Arc<SessionRules>,
    place: &Place,
    request: Request<Incoming>,
    record: &mut Record,
) -> Result<Ready, Refusal> {
    let (mut head, body) = request.into_parts();
    let allowed = decide(rules, place, &head).inspect_err(|refusal| {
        record.refuse(Verdict::Denied, refusal);
    })?;
    record.set_rule(&allowed.rule);
    clean_request(&mut head.headers);
    if allowed.needs_request {
        remove_overrides(&mut head.headers);
    }
    let target = Injection {
        host: &place.host,
        port: place.port,
        is_encrypted: place.is_encrypted,
        is_internal: allowed.may_be_internal,
    };
    let path_and_query = path_and_query(&head);
    head.uri = path_and_query.parse().map_err(|_no_uri| unreadable())?;
    let injected = rules.secrets.inject(&target, &mut head).map_err(|misuse| {
        way.recorder.raise_alarm(&rules.identity, &misuse);
        record.misused(&misuse);
        refusal_of(&misuse)
    })?;
    let body = body.map_err(BoxError::from).boxed_unsync();
    let body = injected.request_body(&mut head, body);
    // Told anew from the body itself: one framing, whatever the program claimed.
    head.headers.remove(CONTENT_LENGTH);
    let body = CountedBody::new(body, record.sent(), record.watch_for_misuse(), ());
    let body = body.boxed_unsync();
    head.uri = place.uri(&self::path_and_query(&head)).map_err(|_no_uri| unreadable())?;
    head.version = Version::HTTP_11;
    head.extensions.clear();
    Ok(Ready { head, body, injected, allowed })
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Gathers a small body whose length may change on the way, so that its new length can be told: many servers read none that comes in
/// chunks. A larger one goes in chunks, unless every value is as long as its placeholder.
async fn with_length(body: Body, declared: Option<u64>) -> Result<Body, BoxError> {
    let is_small = declared.is_some_and(|length| length <= GATHERED_BYTES);
    if !is_small || body.size_hint().exact().is_some() {
        return Ok(body);
    }
    let gathered = body.collect().await?.to_bytes();
    Ok(Full::new(gathered).map_err(|never| match never {}).boxed_unsync())
}

fn decide(rules: &SessionRules, place: &Place, head: &Parts) -> Result<Allowed, Refusal> {
    if head.method == Method::CONNECT {
        let message = "a tunnel inside a connection is not passed on";
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "nested_tunnel", message));
    }
    place.check_host(head)?;
    if !head.uri.path().starts_with('/') && !head.uri.path().is_empty() {
        return Err(unreadable());
    }
    let path = if head.uri.path().is_empty() { "/" } else { head.uri.path() };
    let plain = plain_path(path);
    let request = plain.as_deref().map(|path| Asked { method: head.method.as_str(), path });
    let allowed = rules.policy.decide(Target { host: &place.host, port: place.port, request })?;
    if allowed.needs_request && plain.is_none() {
        let message = format!(
            "what may be asked of {} depends on the path, and this one is not written in its plain form",
            place.host
        );
        return Err(Refusal::new(StatusCode::FORBIDDEN, "odd_path", message).with_remedy(
            "the same path without dot segments, doubled or encoded slashes would be decided on",
        ));
    }
    Ok(allowed)
}

fn path_and_query(head: &Parts) -> String {
    let given = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    if given.starts_with('/') { given.to_owned() } else { format!("/{given}") }
}

fn unreadable() -> Refusal {
    let message = "the address of the request cannot be read";
    Refusal::new(StatusCode::BAD_REQUEST, "invalid_address", message)
}

fn refusal_of(misuse: &Misuse) -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, misuse.code(), misuse.to_string())
}

/// The answer as the program gets it. Its record is told when its body ends, or is dropped.
pub fn answer_of(
    response: Response<Incoming>,
    injected: &Injected,
    mut record: Record,
) -> Response<Body> {
    record.set_status(response.status());
    let (mut head, body) = response.into_parts();
    clean_response(&mut head.headers);
    head.version = Version::HTTP_11;
    head.extensions.clear();
    let body = body.map_err(BoxError::from).boxed_unsync();
    let response = injected.response(Response::from_parts(head, body));
    let received = record.received();
    response.map(|body| CountedBody::new(body, received, |_: &BoxError| {}, record).boxed_unsync())
}

/// What is said when no answer came.
pub fn failed(place: &Place, error: &SendError, mut record: Record) -> Refused {
    if let Some(misuse) = record.caught() {
        return Box::new((refusal_of(misuse), record));
    }
    let (verdict, refusal) = match ReachError::within(error) {
        Some(reach) => (reach.verdict(), reach.to_refusal()),
        None => (Verdict::Failed, broken(place, error)),
    };
    record.refuse(verdict, &refusal);
    Box::new((refusal, record))
}

fn broken(place: &Place, error: &SendError) -> Refusal {
    let host = &place.host;
    match error {
        SendError::Broken(cause) => {
            tracing::debug!(error = cause.as_ref() as &dyn Error, "a request was broken off");
            let message = format!("{host} broke the request off before it answered");
            Refusal::new(StatusCode::BAD_GATEWAY, "host_failed", message)
        }
        SendError::TimedOut => {
            let message = format!("{host} did not answer in time");
            Refusal::new(StatusCode::GATEWAY_TIMEOUT, "host_timed_out", message)
        }
    }
}

/// A header's value for a host that was parsed: it always is one.
pub fn host_value(place: &Place) -> Option<HeaderValue> {
    HeaderValue::from_str(&place.authority()).ok()
}
