//! `CONNECT`: a connection to one host. What it may carry is decided by its name, by what the program begins to say, and by whom the
//! program says it to.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Parts};
use hyper_util::rt::TokioIo;
use platform_core::egress::Verdict;
use platform_core::network::{Allowed, Host, Target};
use tokio::net::TcpStream;

use super::Way;
use super::carried::{carry_on, refuse_inside};
use super::opening::{Opened, read_opening};
use super::record::Record;
use super::rewound::Rewound;
use super::underway::Seat;
use crate::door::Stream;
use crate::refusal::Refusal;
use crate::rules::{Body, SessionRules};

/// Set by the forwarder that carries connections of programs which know no proxy: they cannot read the answer to a CONNECT, so they are
/// refused inside.
const PATH: &str = "x-lap-path";
const TRANSPARENT: &str = "transparent";

/// How long a program is waited for that has to speak first.
const SPEAKS_WITHIN: Duration = Duration::from_secs(5);
/// After so long a silence the server is taken to speak first, on ports where that is usual.
const SERVER_SPEAKS_AFTER: Duration = Duration::from_millis(300);

/// A tunnel that the rules allow as far as they can be applied to its target.
pub struct Admitted {
    pub rules: Arc<SessionRules>,
    pub allowed: Allowed,
    /// Dialled already, where what the tunnel carries will not be looked into.
    pub stream: Option<TcpStream>,
}

/// Where a tunnel was opened to.
pub struct Goal {
    pub host: Host,
    pub port: u16,
}

impl Goal {
    pub fn is_of_the_web(&self) -> bool {
        [80, 443].contains(&self.port)
    }
}

/// Decides on the target and, if it is allowed, goes on with what the program says next.
pub async fn answer(way: &Arc<Way>, mut request: Request<Incoming>) -> Response<Body> {
    let goal = match goal_of(&request) {
        Ok(goal) => goal,
        Err(refusal) => {
            way.recorder.log_refusal(&refusal);
            return refusal.into_response();
        }
    };
    let is_transparent = is_transparent(request.headers());
    let admitted = match Box::pin(admit(way, &goal)).await {
        Err(refusal) if !is_transparent => return refusal.into_response(),
        admitted => admitted,
    };
    let (seat, opening) = (Seat::of(&request), hyper::upgrade::on(&mut request));
    let going_on = go_on(way.clone(), goal, admitted, opening, seat);
    way.underway.spawn(going_on);
    Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync())
}

fn is_transparent(headers: &HeaderMap) -> bool {
    headers.get(PATH).is_some_and(|value| value == TRANSPARENT)
}

fn goal_of(request: &Request<Incoming>) -> Result<Goal, Refusal> {
    let refuse = |message: String| Refusal::new(StatusCode::BAD_REQUEST, "invalid_host", message);
    let authority = request.uri().authority().map_or("", http::uri::Authority::as_str);
    let (host, port) = Host::parse_with_port(authority, 443)
        .map_err(|error| refuse(format!("no tunnel can be opened: {error}")))?;
    Ok(Goal { host, port })
}

async fn admit(way: &Arc<Way>, goal: &Goal) -> Result<Admitted, Refusal> {
    let rules = way.rules().await.inspect_err(|refusal| way.recorder.log_refusal(refusal))?;
    // Before the name is looked up, which would tell it to whoever answers for it.
    rules.secrets.refuse_in_host(&goal.host).map_err(|misuse| {
        way.recorder.raise_alarm(&rules.identity, &misuse);
        let refusal = Refusal::new(StatusCode::FORBIDDEN, misuse.code(), misuse.to_string());
        begin(way, &rules, goal, None).refuse(Verdict::Denied, &refusal);
        refusal
    })?;
    let target = Target { host: &goal.host, port: goal.port, request: None };
    let allowed = rules.policy.decide(target).map_err(Refusal::from).inspect_err(|refusal| {
        begin(way, &rules, goal, None).refuse(Verdict::Denied, refusal);
    })?;
    let dialled = dial_ahead(way, &rules, goal, &allowed).await;
    let stream = dialled.map_err(|error| {
        let refusal = error.to_refusal();
        begin(way, &rules, goal, Some(&allowed)).refuse(error.verdict(), &refusal);
        refusal
    })?;
    Ok(Admitted { rules, allowed, stream })
}

/// Dials now what will be dialled anyway, so that a host which cannot be reached is told in the answer to the CONNECT.
async fn dial_ahead(
    way: &Way,
    rules: &SessionRules,
    goal: &Goal,
    allowed: &Allowed,
) -> Result<Option<TcpStream>, super::ReachError> {
    let Goal { host, port } = goal;
    let is_looked_into = is_terminated(rules, goal, allowed) || *port == 80;
    if !is_looked_into {
        return way.outside.dial(host, *port, allowed.may_be_internal).await.map(Some);
    }
    // Nothing has to be resolved to see what an address is.
    if matches!(host, Host::Address(_)) {
        way.outside.addresses(host, *port, allowed.may_be_internal).await?;
    }
    Ok(None)
}

/// Whether TLS is ended here, so that requests are seen, and nothing passes that cannot be looked into. Of a host at which a credential
/// may be used that holds for every port, and whatever the environment's networking names: what was put in on one port could come
/// back on another.
pub fn is_terminated(rules: &SessionRules, goal: &Goal, allowed: &Allowed) -> bool {
    rules.inspect_tls || allowed.needs_request || rules.secrets.concern_host(&goal.host)
}

/// Begins the record of what becomes of a tunnel.
pub fn begin(way: &Way, rules: &SessionRules, goal: &Goal, allowed: Option<&Allowed>) -> Record {
    let mut record = way.recorder.begin(rules.identity, &goal.host, goal.port);
    if let Some(allowed) = allowed {
        record.set_rule(&allowed.rule);
    }
    record
}

async fn go_on(
    way: Arc<Way>,
    goal: Goal,
    admitted: Result<Admitted, Refusal>,
    opening: OnUpgrade,
    seat: Option<Seat>,
) {
    let Ok(upgraded) = opening.await else { return };
    let Ok(Parts { io, read_buf, .. }) = upgraded.downcast::<TokioIo<Stream>>() else {
        tracing::error!("a tunnel is not on a door's socket");
        return;
    };
    let mut stream = io.into_inner();
    // Whoever is to be looked into is not let through for having been slow.
    let is_looked_into = admitted
        .as_ref()
        .map_or(true, |admitted| is_terminated(&admitted.rules, &goal, &admitted.allowed));
    let patience =
        if goal.is_of_the_web() || is_looked_into { SPEAKS_WITHIN } else { SERVER_SPEAKS_AFTER };
    let Ok(Opened { opening, bytes }) = read_opening(&mut stream, read_buf, patience).await else {
        return;
    };
    let stream = Rewound::new(bytes, stream);
    match admitted {
        Ok(admitted) => {
            Box::pin(carry_on(&way, goal, admitted, stream, opening, seat)).await;
        }
        Err(refusal) => {
            Box::pin(refuse_inside(&way, &goal.host, stream, opening, refusal, seat)).await;
        }
    }
}
