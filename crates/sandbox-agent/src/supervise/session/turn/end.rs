//! How a turn ended, in our words.

use platform_core::session::ModelUsage;
use platform_core::turn::StopReason;
use serde_json::Value;

use crate::supervise::acp::RpcError;

pub(super) struct End {
    pub(super) reason: StopReason,
    /// For ends that are errors.
    pub(super) message: Option<String>,
    pub(super) usage: ModelUsage,
    /// What is left of the harness.
    pub(super) harness: Remains,
    /// Whether the agent itself came to an end, so that it can be told more.
    pub(super) is_the_agent_s: bool,
}

pub(super) enum Remains {
    Usable,
    /// It does not do what it should, and must be killed.
    Stuck,
    Gone,
}

impl End {
    /// Of a harness that answered the prompt.
    pub(super) fn of(
        outcome: Result<Value, RpcError>,
        was_cancelled: bool,
        has_answered: bool,
    ) -> Self {
        let mut is_the_agent_s = false;
        let (reason, message, usage) = match outcome {
            // Some answer a cancelled prompt with an error.
            Err(_) if was_cancelled => (StopReason::Interrupted, None, ModelUsage::default()),
            Err(error) => (StopReason::Error, Some(error.message), ModelUsage::default()),
            Ok(result) => {
                let word = result.get("stopReason").and_then(Value::as_str);
                is_the_agent_s = !was_cancelled && matches!(word, Some("end_turn" | "cancelled"));
                let (reason, message) = stop_reason(word, was_cancelled, has_answered);
                (reason, message.map(str::to_owned), usage_of(&result))
            }
        };
        Self { reason, message, usage, harness: Remains::Usable, is_the_agent_s }
    }

    pub(super) fn broken(reason: StopReason, message: String, harness: Remains) -> Self {
        let usage = ModelUsage::default();
        Self { reason, message: Some(message), usage, harness, is_the_agent_s: false }
    }
}

/// The protocol's reasons in our words. An answer without content is none, and is not taken for one.
fn stop_reason(
    word: Option<&str>,
    was_cancelled: bool,
    has_answered: bool,
) -> (StopReason, Option<&'static str>) {
    match word {
        Some("cancelled") => (StopReason::Interrupted, None),
        _ if was_cancelled => (StopReason::Interrupted, None),
        Some("end_turn") if has_answered => (StopReason::EndTurn, None),
        Some("end_turn") => {
            (StopReason::Error, Some("the agent ended the turn without any answer"))
        }
        Some("max_turn_requests") => {
            (StopReason::MaxTurns, Some("the agent reached its limit of model calls in one turn"))
        }
        Some("max_tokens") => {
            (StopReason::Error, Some("the model reached its limit of output tokens"))
        }
        Some("refusal") => (StopReason::Refusal, None),
        Some(_) | None => {
            (StopReason::Error, Some("the agent ended the turn without a reason that is known"))
        }
    }
}

/// What the harness says about tokens. Some count the whole prompt, some only its last model call: what spending goes by is the
/// gateway's count.
fn usage_of(result: &Value) -> ModelUsage {
    let count = |name| result.pointer(name).and_then(Value::as_u64).unwrap_or_default();
    ModelUsage {
        input_tokens: count("/usage/inputTokens"),
        output_tokens: count("/usage/outputTokens"),
        cache_creation_input_tokens: count("/usage/cachedWriteTokens"),
        cache_read_input_tokens: count("/usage/cachedReadTokens"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_content_is_an_error_and_not_an_end() {
        assert_eq!(stop_reason(Some("end_turn"), false, true), (StopReason::EndTurn, None));
        assert_eq!(stop_reason(Some("end_turn"), false, false).0, StopReason::Error);
        assert_eq!(stop_reason(None, false, true).0, StopReason::Error);
        assert_eq!(stop_reason(None, true, false).0, StopReason::Interrupted);
    }

    #[test]
    fn an_error_is_told_in_the_harness_s_own_words() {
        let error = RpcError { code: -32603, message: "Internal error: bad run key".to_owned() };
        let end = End::of(Err(error), false, false);
        assert_eq!(end.reason, StopReason::Error);
        assert_eq!(end.message.as_deref(), Some("Internal error: bad run key"));
    }
}
