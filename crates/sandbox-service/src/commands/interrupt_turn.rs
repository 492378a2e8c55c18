//! Has the sandbox whose link is held here end its turn.

use std::sync::Arc;

use platform_core::id::SandboxId;
use platform_messaging::proto::link::frame::Body;
use platform_messaging::proto::{link, sandbox};

use super::CommandError;
use crate::service::Service;

pub(super) async fn interrupt_turn(
    service: &Arc<Service>,
    interrupt: sandbox::InterruptTurn,
) -> Result<(), CommandError> {
    let id: SandboxId = interrupt.sandbox_id.parse()?;
    let body = Body::InterruptTurn(link::InterruptTurn { turn_id: interrupt.turn_id });
    if service.links().send(id, body).await.is_err() {
        tracing::warn!(sandbox.id = %id, "the link broke while a turn was interrupted");
    }
    Ok(())
}
