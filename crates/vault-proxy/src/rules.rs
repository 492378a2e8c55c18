//! What holds for one session's way out, and where what happens on it is told.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::combinators::UnsyncBoxBody;
use platform_core::egress::{Alarm, EgressDecision};
use platform_core::id::SandboxId;
use platform_core::network::NetworkPolicy;
use platform_storage::StorageError;
use platform_storage::sandbox::SandboxIdentity;

pub use crate::secrets::{Injected, Injection, Misuse, Secrets};

pub type BoxError = Box<dyn Error + Send + Sync>;

/// A body on its way out of a sandbox, or back into it.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// What holds for one session's way out. Loaded from the database, and looked at anew when older than [`RULES_HOLD`](crate::secrets::session::RULES_HOLD), so that an
/// archived credential or a changed policy holds at once.
pub struct SessionRules {
    pub identity: SandboxIdentity,
    pub policy: NetworkPolicy,
    /// Whether TLS is terminated for every host.
    pub inspect_tls: bool,
    pub secrets: Secrets,
}

impl fmt::Debug for SessionRules {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SessionRules")
            .field("identity", &self.identity)
            .field("inspect_tls", &self.inspect_tls)
            .field("secrets", &self.secrets)
            .finish_non_exhaustive()
    }
}

/// Knows the rules of each sandbox.
pub trait RulesSource: Send + Sync + 'static {
    /// `None`: no session has claimed the sandbox yet (nothing but the list of models leaves), or it is gone.
    fn rules_of(
        &self,
        sandbox: SandboxId,
    ) -> BoxFuture<'_, Result<Option<Arc<SessionRules>>, StorageError>>;
}

/// Where decisions and alarms go. Neither call waits for anything.
pub trait Witness: Send + Sync + 'static {
    fn decided(&self, decision: EgressDecision);
    fn alarm(&self, identity: &SandboxIdentity, sandbox: SandboxId, alarm: Alarm);
}
