//! Exchanges, queues and routing keys: who can reach whom.

use std::borrow::Cow;

use platform_core::id::{SandboxId, SessionId};

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub exchange: &'static str,
    pub routing_key: Cow<'static, str>,
}

impl Route {
    const fn fixed(exchange: &'static str, routing_key: &'static str) -> Self {
        Self { exchange, routing_key: Cow::Borrowed(routing_key) }
    }
}

/// Commands to session-service.
pub const SESSION_COMMANDS: Route = Route::fixed("session.commands", COMMAND);
/// Commands to any replica of sandbox-service.
pub const SANDBOX_COMMANDS: Route = Route::fixed("sandbox.commands", COMMAND);
/// Commands to vault-proxy.
pub const EGRESS_COMMANDS: Route = Route::fixed("egress.commands", COMMAND);

/// Exchange to the replica of sandbox-service that holds a sandbox's link; the routing key is the sandbox.
pub const SANDBOX_LINKS: &str = "sandbox.links";
/// Exchange of committed events; the routing key is the session.
pub const EVENTS: &str = "events";
/// Exchange of previews; the routing key is the session.
pub const PREVIEWS: &str = "previews";

const COMMAND: &str = "command";
pub(crate) const DEAD: &str = "dead";

/// To the replica that holds the link of `sandbox`. Publish it mandatory: unroutable means no link.
pub fn sandbox_link(sandbox: SandboxId) -> Route {
    Route { exchange: SANDBOX_LINKS, routing_key: sandbox.uuid().to_string().into() }
}

/// To whoever listens to the events of `session`.
pub fn events_of(session: SessionId) -> Route {
    Route { exchange: EVENTS, routing_key: session.uuid().to_string().into() }
}

/// To whoever listens to the previews of `session`.
pub fn previews_of(session: SessionId) -> Route {
    Route { exchange: PREVIEWS, routing_key: session.uuid().to_string().into() }
}

/// What a message is, as its AMQP property `type` says.
pub mod kind {
    pub const SESSION_COMMAND: &str = "session.command";
    pub const SANDBOX_COMMAND: &str = "sandbox.command";
    pub const EGRESS_COMMAND: &str = "egress.command";
    pub const EVENTS_COMMITTED: &str = "events.committed";
    pub const PREVIEW: &str = "preview";
    pub const EGRESS_DECISION: &str = "egress.decision";
    pub(crate) const ANSWER: &str = "answer";
}

/// A durable quorum queue that competing consumers share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue(&'static str);

impl Queue {
    pub const SESSION_COMMANDS: Self = Self("session.commands");
    pub const SANDBOX_COMMANDS: Self = Self("sandbox.commands");
    pub const EGRESS_COMMANDS: Self = Self("egress.commands");
    /// What no consumer could take. Nobody consumes it: it waits for an operator.
    pub const DEAD_LETTERS: Self = Self("dead.letters");

    pub fn name(self) -> &'static str {
        self.0
    }
}

/// Each command queue with the route that leads to it.
pub(crate) const COMMAND_QUEUES: [(Queue, Route); 3] = [
    (Queue::SESSION_COMMANDS, SESSION_COMMANDS),
    (Queue::SANDBOX_COMMANDS, SANDBOX_COMMANDS),
    (Queue::EGRESS_COMMANDS, EGRESS_COMMANDS),
];

/// How often a message is delivered before it counts as poisonous. Every kill of a consumer costs each message in its hands one
/// delivery, therefore well above the number of restarts that one outage brings.
pub(crate) const DELIVERY_LIMIT: i64 = 20;
