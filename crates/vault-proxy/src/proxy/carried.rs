//! What an open tunnel carries: TLS of which each request is looked into, TLS that passes, HTTP in clear, or other bytes.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use platform_core::egress::Verdict;
use platform_core::network::{Allowed, Host};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::Way;
use super::asked::Place;
use super::connect::{Admitted, Goal, begin, is_terminated};
use super::opening::Opening;
use super::reach::named;
use super::read_ahead::ReadAhead;
use super::record::Record;
use super::rewound::Rewound;
use super::serve::{Served, serve};
use super::tunnel::carry_sockets;
use super::underway::Seat;
use crate::door::Stream;
use crate::refusal::Refusal;

const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// What may be encrypted and not yet sent.
pub const TLS_BUFFER_BYTES: usize = 256 << 10;

/// Goes on with a tunnel that the rules allow, as its opening asks for.
pub async fn carry_on(
    way: &Arc<Way>,
    goal: Goal,
    admitted: Admitted,
    stream: Rewound<Stream>,
    opening: Opening,
    seat: Option<Seat>,
) {
    let Admitted { rules, allowed, stream: dialled } = admitted;
    let is_terminated = is_terminated(&rules, &goal, &allowed);
    let is_encrypted = match &opening {
        Opening::End => return,
        Opening::Http => {
            drop(dialled);
            let place = Place { host: goal.host, port: goal.port, is_encrypted: false };
            serve(way, stream, false, Served::PassedOn(place), seat).await;
            return;
        }
        Opening::Tls { name } => {
            // By its address, a host that is to be looked into would be reached unseen.
            let named: Option<Host> = name.as_deref().and_then(|name| name.parse().ok());
            let is_concerned = named.is_some_and(|host| rules.secrets.concern_host(&host));
            let is_strict = is_terminated || is_concerned || rules.policy.is_limited();
            if let Err(refusal) = check_name(&goal.host, name.as_deref(), is_strict) {
                begin(way, &rules, &goal, None).refuse(Verdict::Denied, &refusal);
                return refuse_inside(way, &goal.host, stream, opening, refusal, seat).await;
            }
            true
        }
        Opening::Other | Opening::Silence => false,
    };
    if is_encrypted && is_terminated {
        let record = begin(way, &rules, &goal, Some(&allowed));
        return look_into(way, goal, stream, record, seat).await;
    }
    let is_web_only = goal.is_of_the_web() && rules.policy.is_limited();
    if !is_encrypted && (is_terminated || is_web_only) {
        let refusal = neither_tls_nor_http(&goal, rules.secrets.concern_host(&goal.host));
        begin(way, &rules, &goal, None).refuse(Verdict::Denied, &refusal);
        return;
    }
    let record = begin(way, &rules, &goal, Some(&allowed));
    pass(way, &goal, &allowed, stream, dialled, record).await;
    drop(seat);
}

/// The name in a hello has to be the one that was decided on: by another one a front of many hosts would lead elsewhere.
fn check_name(host: &Host, name: Option<&str>, is_strict: bool) -> Result<(), Refusal> {
    let is_same = match (host, name) {
        (Host::Name(_), Some(name)) => name.parse().as_ref() == Ok(host),
        (Host::Name(_), None) | (Host::Address(_), Some(_)) => !is_strict,
        (Host::Address(_), None) => true,
    };
    if is_same {
        return Ok(());
    }
    let said: String = match name {
        Some(name) => format!("TLS is begun with {}", name.chars().take(200).collect::<String>()),
        None => "TLS is begun without a name".to_owned(),
    };
    let message = format!("the connection was opened to {host}, and {said}");
    Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, "sni_mismatch", message)
        .with_remedy("a connection whose TLS names the host that it was opened to would be decided on by that host's rule"))
}

fn neither_tls_nor_http(goal: &Goal, has_credential: bool) -> Refusal {
    let named = named(&goal.host, goal.port);
    let message =
        format!("only TLS and HTTP are carried to {named}, and the connection begins with neither");
    let remedy = if has_credential {
        "a session none of whose credentials and secret variables may be used at the host would be let through"
    } else {
        "allowed_hosts with another port of the host in the environment's networking would allow other protocols there"
    };
    Refusal::new(StatusCode::FORBIDDEN, "not_tls_or_http", message).with_remedy(remedy)
}

/// Ends TLS here, in the host's name, and handles each request.
async fn look_into(
    way: &Arc<Way>,
    goal: Goal,
    stream: Rewound<Stream>,
    mut record: Record,
    seat: Option<Seat>,
) {
    let Some((stream, is_http2)) = accept(way, &goal.host, stream).await else {
        let message = "the program did not take the sandbox's certificate: it pins another one, or does not read the usual variables";
        let refusal = Refusal::new(StatusCode::BAD_GATEWAY, "client_tls_failed", message);
        record.refuse(Verdict::Failed, &refusal);
        return;
    };
    // Each request has its own.
    record.forget();
    let place = Place { host: goal.host, port: goal.port, is_encrypted: true };
    serve(way, stream, is_http2, Served::PassedOn(place), seat).await;
}

type Accepted = tokio_rustls::server::TlsStream<ReadAhead<Rewound<Stream>>>;

async fn accept(way: &Way, host: &Host, stream: Rewound<Stream>) -> Option<(Accepted, bool)> {
    let config = way.authority.server_config(host).inspect_err(|error| {
        tracing::error!(
            error = error as &dyn std::error::Error,
            "a host's certificate cannot be made"
        );
    });
    let accepting = TlsAcceptor::from(config.ok()?).accept(ReadAhead::new(stream));
    match timeout(HANDSHAKE_WITHIN, accepting).await {
        Ok(Ok(mut stream)) => {
            stream.get_mut().1.set_buffer_limit(Some(TLS_BUFFER_BYTES));
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            Some((stream, is_http2))
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, "TLS with a program did not come about");
            None
        }
        Err(_elapsed) => None,
    }
}

/// Says why not in the language that the program speaks, so that its user can read it.
pub async fn refuse_inside(
    way: &Arc<Way>,
    host: &Host,
    stream: Rewound<Stream>,
    opening: Opening,
    refusal: Refusal,
    seat: Option<Seat>,
) {
    match opening {
        Opening::Tls { name } => {
            let host = name.and_then(|name| name.parse().ok()).unwrap_or_else(|| host.clone());
            if let Some((stream, is_http2)) = accept(way, &host, stream).await {
                serve(way, stream, is_http2, Served::Refused(refusal), seat).await;
            }
        }
        Opening::Http => serve(way, stream, false, Served::Refused(refusal), seat).await,
        Opening::Other | Opening::Silence | Opening::End => {}
    }
}

/// Carries bytes both ways, untouched.
async fn pass(
    way: &Way,
    goal: &Goal,
    allowed: &Allowed,
    stream: Rewound<Stream>,
    dialled: Option<TcpStream>,
    mut record: Record,
) {
    let host = match dialled {
        Some(host) => host,
        None => match way.outside.dial(&goal.host, goal.port, allowed.may_be_internal).await {
            Ok(host) => host,
            Err(error) => return record.refuse(error.verdict(), &error.to_refusal()),
        },
    };
    let (sent, received) = (record.sent(), record.received());
    if let Err(error) = carry_sockets(stream, host, sent, received).await {
        tracing::debug!(%error, "a tunnel broke off");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_names_the_host_that_the_connection_was_opened_to() {
        let check = |host: &str, name, is_strict| {
            check_name(&host.parse().unwrap(), name, is_strict).map_err(|refusal| refusal.code)
        };
        assert_eq!(check("example.com", Some("Example.com"), true), Ok(()));
        assert_eq!(check("203.0.113.1", None, true), Ok(()));
        assert_eq!(check("203.0.113.1", Some("example.com"), false), Ok(()));
        for (host, name, is_strict) in [
            ("example.com", Some("other.com"), false),
            ("example.com", Some("sub.example.com"), false),
            ("example.com", None, true),
            ("203.0.113.1", Some("example.com"), true),
        ] {
            assert_eq!(check(host, name, is_strict), Err("sni_mismatch"), "{host} {name:?}");
        }
    }
}
