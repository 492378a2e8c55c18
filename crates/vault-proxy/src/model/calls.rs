//! One sandbox's calls of models: whose they are, whether they may be made, and what became of them.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use platform_core::budget::NanoDollars;
use platform_core::clock::{Clock, IdSource};
use platform_core::egress::{EgressDecision, Verdict};
use platform_core::id::{EgressDecisionId, SandboxId};
use platform_runtime::lifecycle::Tasks;
use platform_storage::sandbox::SandboxIdentity;
use tokio::sync::OnceCell;

use super::chat;
use super::forward::Gateway;
use super::keys::SessionKeys;
use super::ledger::Ledger;
use super::metered::{Account, WhenOver, metered};
use super::owner::{Owners, tags};
use super::policy::{Purpose, permit};
use super::prices::Prices;
use super::usage::{Dialect, UsageMeter};
use crate::refusal::Refusal;
use crate::rules::{Body, Witness};

/// The name under which LiteLLM stands in decisions: its address is nothing that a sandbox knows.
const HOST: &str = "litellm";
const LONGEST_PATH: usize = 200;

/// The way to models, for all sandboxes.
pub struct Models {
    pub owners: Arc<dyn Owners>,
    pub gateway: Gateway,
    pub ledger: Arc<dyn Ledger>,
    pub prices: Arc<Prices>,
    /// Keys of sessions' own, where LiteLLM issues them.
    pub keys: Option<Arc<SessionKeys>>,
    pub witness: Arc<dyn Witness>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn IdSource>,
    pub tasks: Tasks,
}

/// The way to models for one sandbox.
pub struct Calls {
    models: Arc<Models>,
    sandbox: SandboxId,
    /// Once claimed, a sandbox never changes its owner.
    owner: OnceCell<SandboxIdentity>,
    /// Whether there was a budget when that was last looked at: then it has to be known, and else an absent database is no hindrance.
    has_budget: AtomicBool,
}

/// What is known of a call from its beginning on.
struct Call {
    begun: Instant,
    method: Method,
    path: String,
    bytes_out: u64,
}

impl Calls {
    pub fn new(models: Arc<Models>, sandbox: SandboxId) -> Self {
        Self { models, sandbox, owner: OnceCell::new(), has_budget: AtomicBool::new(true) }
    }

    /// Answers a request that is meant for LiteLLM.
    pub async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let mut call = Call {
            begun: Instant::now(),
            method: request.method().clone(),
            path: request.uri().path().chars().take(LONGEST_PATH).collect(),
            bytes_out: hyper::body::Body::size_hint(request.body()).exact().unwrap_or(0),
        };
        match self.decide(request, &mut call).await {
            Ok(response) => {
                self.log(&call, response.status(), None);
                response
            }
            Err(refusal) => {
                self.log(&call, refusal.status, Some(refusal.code));
                self.note(&call, Verdict::Denied, Some(refusal.code), refusal.status, 0);
                refusal.into_response()
            }
        }
    }

    async fn decide(
        &self,
        request: Request<Incoming>,
        call: &mut Call,
    ) -> Result<Response<Body>, Refusal> {
        let purpose = permit(request.method(), request.uri()).map_err(|forbidden| {
            Refusal::new(StatusCode::FORBIDDEN, "egress_forbidden", forbidden.to_string())
        })?;
        let gateway = &self.models.gateway;
        if purpose == Purpose::ListModels {
            return gateway.forward(request, None, None).await;
        }
        let owner = *self.owner().await?;
        self.refuse_without_money(owner).await?;
        let own_key = self.own_key(owner).await?;
        let tags = tags(&owner);
        let dialect = Dialect::of_path(request.uri().path());
        let response = if dialect == Dialect::Chat {
            let request = asking_for_usage(request).await?;
            call.bytes_out =
                hyper::body::Body::size_hint(request.body()).exact().unwrap_or(call.bytes_out);
            gateway.forward(request, Some(&tags), own_key.as_ref()).await?
        } else {
            gateway.forward(request, Some(&tags), own_key.as_ref()).await?
        };
        Ok(self.count(response, owner, dialect, call))
    }

    async fn refuse_without_money(&self, owner: SandboxIdentity) -> Result<(), Refusal> {
        match self.models.ledger.allowances(owner).await {
            Ok(allowances) => {
                let has_budget =
                    allowances.session.budget.is_some() || allowances.team.budget.is_some();
                self.has_budget.store(has_budget, Ordering::Relaxed);
                match allowances.used_up() {
                    // A 400 ends the agent's turn; anything that may pass would be tried again and again.
                    Some(sentence) => {
                        Err(Refusal::new(StatusCode::BAD_REQUEST, "budget_reached", sentence))
                    }
                    None => Ok(()),
                }
            }
            Err(error) => {
                tracing::warn!(sandbox.id = %self.sandbox, error = &error as &dyn Error, "a budget cannot be looked up");
                if !self.has_budget.load(Ordering::Relaxed) {
                    return Ok(());
                }
                let message = "it cannot be looked up now whether there is money left; try again";
                Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "budget_unknown", message))
            }
        }
    }

    async fn own_key(&self, owner: SandboxIdentity) -> Result<Option<HeaderValue>, Refusal> {
        let Some(keys) = &self.models.keys else { return Ok(None) };
        let key = keys.of(owner).await.map_err(|error| {
            tracing::warn!(session.id = %owner.session_id, error = &error as &dyn Error, "LiteLLM issues no key");
            let message = "the model gateway (LiteLLM) issues no key for this session now; try again";
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "no_key", message)
        })?;
        Ok(Some(key))
    }

    fn count(
        &self,
        response: Response<Body>,
        owner: SandboxIdentity,
        dialect: Dialect,
        call: &Call,
    ) -> Response<Body> {
        let (head, body) = response.into_parts();
        let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        let is_stream = text(CONTENT_TYPE.as_str())
            .is_some_and(|kind| kind.trim_start().starts_with("text/event-stream"));
        let cost = text("x-litellm-response-cost").and_then(|cost| cost.parse().ok());
        let names = ["x-litellm-model-id", "x-litellm-model-group"];
        let models = &self.models;
        let account = Account {
            ledger: models.ledger.clone(),
            prices: models.prices.clone(),
            identity: owner,
            told_cost: cost.map(NanoDollars::from_dollars),
            names: names.iter().filter_map(|name| text(name)).map(str::to_owned).collect(),
            tasks: models.tasks.clone(),
        };
        let account = head.status.is_success().then_some(account);
        let decision = self.decision(owner, call, Verdict::Allowed, None, head.status);
        let witness = models.witness.clone();
        let when_over: WhenOver = Box::new(move |bytes_in| {
            witness.decided(EgressDecision { bytes_in, ..decision });
        });
        let meter = UsageMeter::new(dialect, is_stream);
        Response::from_parts(head, metered(body, meter, is_stream, account, when_over))
    }

    async fn owner(&self) -> Result<&SandboxIdentity, Refusal> {
        self.owner
            .get_or_try_init(|| async {
                let found = self.models.owners.owner_of(self.sandbox).await.map_err(|error| {
                    tracing::warn!(sandbox.id = %self.sandbox, error = &error as &dyn Error, "the owner of a sandbox cannot be looked up");
                    let message = "it cannot be looked up now whose sandbox this is";
                    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "owner_unknown", message)
                })?;
                found.ok_or_else(|| {
                    let message = "this sandbox belongs to no session, so it may not call models";
                    Refusal::new(StatusCode::FORBIDDEN, "no_session", message)
                })
            })
            .await
    }

    /// Keeps what was decided, if it is known for whom.
    fn note(
        &self,
        call: &Call,
        verdict: Verdict,
        code: Option<&str>,
        status: StatusCode,
        bytes_in: u64,
    ) {
        if let Some(owner) = self.owner.get() {
            let decision = self.decision(*owner, call, verdict, code, status);
            self.models.witness.decided(EgressDecision { bytes_in, ..decision });
        }
    }

    fn decision(
        &self,
        owner: SandboxIdentity,
        call: &Call,
        verdict: Verdict,
        code: Option<&str>,
        status: StatusCode,
    ) -> EgressDecision {
        EgressDecision {
            id: EgressDecisionId::mint(&*self.models.ids),
            team_id: owner.team_id,
            session_id: owner.session_id,
            sandbox_id: self.sandbox,
            at: self.models.clock.now(),
            verdict,
            rule: "model calls".to_owned(),
            code: code.map(str::to_owned),
            host: HOST.to_owned(),
            port: 443,
            method: Some(call.method.to_string()),
            path: Some(call.path.clone()),
            status: Some(status.as_u16()),
            bytes_out: call.bytes_out,
            bytes_in: 0,
        }
    }

    /// One line per call. Bodies and keys are in none of them.
    fn log(&self, call: &Call, status: StatusCode, refused: Option<&str>) {
        let session = self.owner.get().map(|owner| owner.session_id.to_string());
        tracing::info!(
            sandbox.id = %self.sandbox,
            session.id = session,
            http.method = %call.method,
            http.path = call.path,
            http.status = status.as_u16(),
            duration_ms = call.begun.elapsed().as_millis(),
            refused,
            "egress"
        );
    }
}

async fn asking_for_usage(request: Request<Incoming>) -> Result<Request<Full<Bytes>>, Refusal> {
    let (head, body) = request.into_parts();
    let body = Gateway::collect(&head.headers, body).await?;
    let asking = chat::asking_for_usage(&body).map_err(|error| {
        Refusal::new(StatusCode::BAD_REQUEST, "unreadable_request", error.to_string())
    })?;
    let asking = match asking {
        std::borrow::Cow::Borrowed(_) => body,
        std::borrow::Cow::Owned(asking) => Bytes::from(asking),
    };
    Ok(Request::from_parts(head, Full::new(asking)))
}
