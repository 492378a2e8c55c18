//! Hands a turn to the sandbox whose link is held here.

use std::sync::Arc;

use platform_core::id::SandboxId;
use platform_messaging::proto::{link, sandbox};

use super::CommandError;
use crate::service::Service;

/// Answers once the turn was written to the link. A link that breaks meanwhile brings the turn with it when it comes back,
/// and a sandbox that does not come back is reported as lost, which has the turn taken up again.
pub(super) async fn start_turn(
    service: &Arc<Service>,
    start: sandbox::StartTurn,
) -> Result<(), CommandError> {
    let id: SandboxId = start.sandbox_id.parse()?;
    let turn = link::StartTurn {
        turn_id: start.turn_id,
        attempt: start.attempt,
        prompt: start.prompt,
        harness_silence_seconds: start.harness_silence_seconds,
        answers: start.answers,
    };
    tracing::info!(sandbox.id = %id, turn.id = turn.turn_id, turn.attempt = turn.attempt, "turn handed over");
    if service.links().start_turn(id, turn).await.is_err() {
        tracing::warn!(sandbox.id = %id, "the link broke while a turn was handed over");
    }
    Ok(())
}
