//! Who asks: no handler that needs a team can be reached without one of these.

mod key;
mod keys;

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::header::AUTHORIZATION;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use platform_core::failure::FailureKind;
use platform_core::id::{ApiKeyId, TeamId};
use secrecy::SecretString;

use crate::platform::Platform;
use crate::problem::Problem;

pub use key::NewKey;
pub use keys::Keys;

/// Names the team in which the administrator acts; the SDK's `workspace_id`.
const TEAM: &str = "anthropic-workspace-id";

const NO_KEY: &str = "this needs a key: send it as `Authorization: Bearer <key>` or `x-api-key: <key>`. \
    The administrator's key is the platform's MASTER_KEY, which scripts/up prints; POST /v1/api_keys makes keys for teams";
const UNKNOWN_KEY: &str = "this key is not known, has expired or was revoked";

/// Somebody with a valid key, acting for one team.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    team: TeamId,
    identity: Identity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// Holds `MASTER_KEY`.
    Administrator,
    Key(ApiKeyId),
}

impl Caller {
    pub fn team(self) -> TeamId {
        self.team
    }

    pub fn identity(self) -> Identity {
        self.identity
    }

    pub fn is_administrator(self) -> bool {
        self.identity == Identity::Administrator
    }
}

type Pending<T> = Pin<Box<dyn Future<Output = Result<T, Problem>>>>;

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Pending<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let known = request.extensions().get::<Self>().copied();
        if let Some(caller) = known {
            return Box::pin(std::future::ready(Ok(caller)));
        }
        let request = request.clone();
        Box::pin(async move {
            let caller = recognise(&request).await?;
            request.extensions_mut().insert(caller);
            Ok(caller)
        })
    }
}

async fn recognise(request: &HttpRequest) -> Result<Caller, Problem> {
    let keys = &Platform::of(request)?.keys;
    let presented = presented_key(request).ok_or_else(|| Problem::unauthenticated(NO_KEY))?;
    let named = request.headers().get(TEAM).and_then(|value| value.to_str().ok());
    if keys.is_master(&presented) {
        let team = match named {
            None => keys.default_team().await?,
            Some(id) => keys.team(id).await?,
        };
        return Ok(Caller { team, identity: Identity::Administrator });
    }
    let key = keys.find(&presented).await?.ok_or_else(|| Problem::unauthenticated(UNKNOWN_KEY))?;
    if named.is_some_and(|id| id.parse() != Ok(key.team_id)) {
        return Err(Problem::not_found("team", named.unwrap_or_default().to_owned()));
    }
    Ok(Caller { team: key.team_id, identity: Identity::Key(key.id) })
}

fn presented_key(request: &HttpRequest) -> Option<SecretString> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let bearer = header(AUTHORIZATION.as_str()).and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key)
    });
    let key = bearer.or_else(|| header("x-api-key")).map(str::trim);
    key.filter(|key| !key.is_empty()).map(SecretString::from)
}

/// The holder of `MASTER_KEY`; a team's key is refused.
#[derive(Debug, Clone, Copy)]
pub struct Administrator(pub Caller);

impl FromRequest for Administrator {
    type Error = Problem;
    type Future = Pending<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let caller = Caller::from_request(request, payload);
        Box::pin(async move {
            let caller = caller.await?;
            if caller.is_administrator() {
                return Ok(Self(caller));
            }
            let message = "only the administrator (MASTER_KEY) may do this";
            Err(Problem::new(FailureKind::Forbidden, message))
        })
    }
}
