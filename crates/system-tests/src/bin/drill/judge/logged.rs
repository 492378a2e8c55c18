//! The parts of a logged event that a judge looks at.

use serde_json::Value;

/// One event of a session's log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Logged<'log> {
    pub(crate) number: i64,
    pub(crate) id: &'log str,
    pub(crate) kind: &'log str,
    /// Empty for an event that belongs to no turn.
    pub(crate) turn: &'log str,
    pub(crate) body: &'log Value,
}

impl<'log> Logged<'log> {
    pub(crate) fn all(log: &'log [Value]) -> Vec<Self> {
        log.iter().map(Self::of).collect()
    }

    fn of(body: &'log Value) -> Self {
        let word = |name: &str| body[name].as_str().unwrap_or_default();
        Self {
            number: body["seq"].as_i64().unwrap_or_default(),
            id: word("id"),
            kind: word("type"),
            turn: word("turn_id"),
            body,
        }
    }

    /// Why a turn ended, in our word.
    pub(crate) fn stop_reason(&self) -> &'log str {
        self.body["stop_reason"]["reason"].as_str().unwrap_or_default()
    }

    /// The call that a result belongs to.
    pub(crate) fn call(&self) -> &'log str {
        self.body["tool_use_id"].as_str().unwrap_or_default()
    }

    pub(crate) fn is_error(&self) -> bool {
        self.body["is_error"].as_bool().unwrap_or_default()
    }

    /// Whether the agent may do again behind this event what it had not finished before it.
    pub(crate) fn is_a_loss(&self) -> bool {
        matches!(self.kind, "session.status_rescheduled" | "session.context_restored")
    }
}
