//! The way to other hosts: programs in the sandbox send requests through it or open tunnels, and what leaves is what the rules allow.

mod asked;
pub mod authority;
mod carried;
mod connect;
mod counted;
mod exchange;
mod headers;
pub mod opening;
mod outside;
mod reach;
mod read_ahead;
mod record;
mod resolver;
mod rewound;
mod serve;
mod switch;
mod tunnel;
mod underway;
mod upstream;
pub mod websocket;

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use platform_core::clock::{Clock, IdSource};
use platform_core::id::SandboxId;

use crate::refusal::Refusal;
use crate::rules::{Body, RulesSource, SessionRules, Witness};
use authority::Authority;
use record::Recorder;

pub use asked::plain_path;
pub use outside::{Outside, OutsideError};
pub use reach::ReachError;
pub use resolver::{Resolver, SystemResolver};
pub use serve::{Served, http1_settings};
pub use underway::{Background, Seat, Underway};
pub use upstream::{SendError, Upstream};

/// What the ways out of all sandboxes have in common.
pub struct Surroundings {
    pub rules: Arc<dyn RulesSource>,
    pub witness: Arc<dyn Witness>,
    pub outside: Arc<Outside>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn IdSource>,
}

/// One sandbox's way to other hosts. Nothing of it is shared with another sandbox's.
pub struct Way {
    sandbox: SandboxId,
    rules: Arc<dyn RulesSource>,
    outside: Arc<Outside>,
    upstream: Upstream,
    authority: Authority,
    recorder: Arc<Recorder>,
    underway: Underway,
}

impl Way {
    pub fn new(
        sandbox: SandboxId,
        surroundings: &Surroundings,
        authority: Authority,
        underway: Underway,
    ) -> Arc<Self> {
        let Surroundings { rules, witness, outside, clock, ids } = surroundings;
        let upstream = Upstream::new(outside.clone(), underway.background());
        let recorder = Recorder::new(sandbox, witness.clone(), clock.clone(), ids.clone());
        Arc::new(Self {
            sandbox,
            rules: rules.clone(),
            outside: outside.clone(),
            upstream,
            authority,
            recorder: Arc::new(recorder),
            underway,
        })
    }

    /// Whether a request is for another host, and so for this way.
    pub fn is_for_another_host(request: &Request<Incoming>) -> bool {
        request.method() == Method::CONNECT || request.uri().authority().is_some()
    }

    /// Answers a request that names another host: `CONNECT`, or one with an absolute address.
    pub async fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        if request.method() == Method::CONNECT {
            connect::answer(self, request).await
        } else {
            exchange::answer_absolute(self, request).await
        }
    }

    /// What holds for the sandbox now.
    async fn rules(&self) -> Result<Arc<SessionRules>, Refusal> {
        let found = self.rules.rules_of(self.sandbox).await.map_err(|error| {
            tracing::warn!(sandbox.id = %self.sandbox, error = &error as &dyn std::error::Error, "the rules of a sandbox cannot be looked up");
            let message = "it cannot be looked up now what may leave this sandbox; try again";
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "rules_unknown", message)
        })?;
        found.ok_or_else(|| {
            let message = "this sandbox belongs to no session, so nothing may leave it";
            Refusal::new(StatusCode::FORBIDDEN, "no_session", message)
        })
    }
}
