//! Ids for what a request makes.

use std::future::{Ready, ready};
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use platform_core::clock::IdSource;
use platform_core::id::{CommandId, Id, TeamId};
use uuid::Uuid;

use crate::platform::Platform;
use crate::problem::Problem;

/// Mints the ids of one request. With an `Idempotency-Key` they follow from it, so that a repeat which another gateway takes over
/// makes the same things and sends the same command instead of second ones.
#[derive(Clone)]
pub struct Minting {
    source: Arc<dyn IdSource>,
    seed: Option<Seed>,
}

/// What a request's ids follow from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed(Uuid);

impl Seed {
    pub fn new(team: TeamId, key: &str, method: &str, path: &str) -> Self {
        let name = [key, method, path].join("\n");
        Self(Uuid::new_v5(&team.uuid(), name.as_bytes()))
    }
}

impl Minting {
    pub fn command_id(&self) -> CommandId {
        self.id("command")
    }

    /// The id of the thing that plays `role` in the request. Asked twice for one role it may answer twice the same.
    pub fn id<T>(&self, role: &str) -> Id<T> {
        Id::from_uuid(match self.seed {
            Some(Seed(seed)) => Uuid::new_v5(&seed, role.as_bytes()),
            None => self.source.uuid(),
        })
    }

    /// What the ids follow from, if they follow from anything.
    pub fn seed(&self) -> Option<Uuid> {
        self.seed.map(|Seed(seed)| seed)
    }

    /// Whether an earlier attempt may have made the same thing already.
    pub fn may_repeat(&self) -> bool {
        self.seed.is_some()
    }
}

impl FromRequest for Minting {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let seed = request.extensions().get::<Seed>().copied();
        ready(Platform::of(request).map(|platform| Self { source: platform.ids.clone(), seed }))
    }
}

#[cfg(test)]
mod tests {
    use platform_core::id::AgentId;
    use platform_runtime::clock::SystemIds;

    use super::*;

    fn minting(seed: Option<Seed>) -> Minting {
        Minting { source: Arc::new(SystemIds), seed }
    }

    #[test]
    fn a_key_makes_the_same_ids_every_time_and_others_for_every_team_and_path() {
        let team = TeamId::from_uuid(Uuid::nil());
        let seed = |key, path| Some(Seed::new(team, key, "POST", path));
        let agent = |seed| minting(seed).id("agent") as AgentId;
        assert_eq!(agent(seed("k", "/v1/agents")), agent(seed("k", "/v1/agents")));
        assert_ne!(agent(seed("k", "/v1/agents")), agent(seed("l", "/v1/agents")));
        assert_ne!(agent(seed("k", "/v1/agents")), agent(seed("k", "/v1/sessions")));
        assert_ne!(agent(None), agent(None));
    }
}
