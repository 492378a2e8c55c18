//! Requests that change their connection to another protocol, such as WebSocket: the head is handled like any other, then bytes pass.

use std::sync::Arc;

use http::header::HOST;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Empty};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use platform_core::egress::Verdict;

use super::Way;
use super::asked::Place;
use super::exchange::{Ready, answer_of, failed, host_value};
use super::headers::{clean_response, set_upgrade};
use super::record::Record;
use super::tunnel::carry;
use super::underway::Seat;
use super::websocket::{self, Guards, ask_for_what_can_be_searched, is_websocket};
use crate::refusal::Refusal;
use crate::rules::{Body, BoxError};

/// Sends the request on a connection of its own. If the host changes the protocol, both sides' bytes pass until one of them ends.
pub async fn pass_on(
    way: &Arc<Way>,
    place: &Place,
    ready: Ready,
    mut record: Record,
    protocol: HeaderValue,
    (from_sandbox, seat): (OnUpgrade, Option<Seat>),
) -> Result<Response<Body>, Box<(Refusal, Record)>> {
    let Ready { mut head, body, injected, allowed } = ready;
    set_upgrade(&mut head.headers, protocol);
    let guards = Guards::of(&injected);
    if guards.is_some() {
        ask_for_what_can_be_searched(&mut head.headers);
    }
    if let Some(host) = host_value(place) {
        head.headers.insert(HOST, host);
    }
    if let Some(relative) = head.uri.path_and_query().and_then(|it| it.as_str().parse().ok()) {
        head.uri = relative;
    }
    let request = Request::from_parts(head, body);
    let target = (&place.host, place.port);
    let answering =
        way.upstream.send_upgrade(target, place.is_encrypted, allowed.may_be_internal, request);
    let mut response = match answering.await {
        Ok(response) => response,
        Err(error) => return Err(failed(place, &error, record)),
    };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(answer_of(response, &injected, record));
    }
    let from_host = hyper::upgrade::on(&mut response);
    let (mut head, _no_body) = response.into_parts();
    let protocol = head.headers.get(http::header::UPGRADE).cloned();
    let is_fitting =
        |protocol: &HeaderValue| is_websocket(protocol) || injected.scrubber().is_none();
    let Some(protocol) = protocol.filter(is_fitting) else {
        let message = format!("{} changed to a protocol that nobody had asked for", place.host);
        let refusal = Refusal::new(StatusCode::BAD_GATEWAY, "host_failed", message);
        record.refuse(Verdict::Failed, &refusal);
        return Err(Box::new((refusal, record)));
    };
    let guards = guards.filter(|_| is_websocket(&protocol));
    record.set_status(head.status);
    clean_response(&mut head.headers);
    set_upgrade(&mut head.headers, protocol);
    head.version = Version::HTTP_11;
    head.extensions.clear();
    let empty = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let response = injected.response(Response::from_parts(head, empty));
    way.underway.spawn(async move {
        let (Ok(sandbox), Ok(host)) = (from_sandbox.await, from_host.await) else { return };
        let (sandbox, host) = (TokioIo::new(sandbox), TokioIo::new(host));
        let counts = (record.sent(), record.received());
        let ended = match guards {
            Some(guards) => websocket::carry(sandbox, host, guards, counts).await,
            None => carry(sandbox, host, counts).await.map_err(BoxError::from),
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection with another protocol broke off");
            record.watch_for_misuse()(&error);
        }
        drop(seat);
    });
    Ok(response)
}
