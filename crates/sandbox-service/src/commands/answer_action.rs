//! Hands the answer to a waiting call to the sandbox whose link is held here.

use std::sync::Arc;

use platform_core::id::SandboxId;
use platform_messaging::proto::link::frame::Body;
use platform_messaging::proto::{link, sandbox};

use super::CommandError;
use crate::service::Service;

/// Answers once it was written to the link. Should the link break meanwhile, session-service sends the answer again when the sandbox
/// is back.
pub(super) async fn answer_action(
    service: &Arc<Service>,
    answer: sandbox::AnswerAction,
) -> Result<(), CommandError> {
    let id: SandboxId = answer.sandbox_id.parse()?;
    let body = Body::AnswerAction(link::AnswerAction {
        turn_id: answer.turn_id,
        event_id: answer.event_id,
        answer: answer.answer,
    });
    if service.links().send(id, body).await.is_err() {
        tracing::warn!(sandbox.id = %id, "the link broke while an answer was handed over");
    }
    Ok(())
}
