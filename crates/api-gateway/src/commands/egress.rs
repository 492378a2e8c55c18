//! Questions to vault-proxy, which alone knows what its answer would be.

use std::time::Duration;

use platform_core::failure::FailureKind;
use platform_core::id::CommandId;
use platform_messaging::proto::egress::egress_command::Action;
use platform_messaging::proto::egress::egress_reply::Outcome;
use platform_messaging::proto::egress::{EgressCommand, EgressReply};
use platform_messaging::topology::{EGRESS_COMMANDS, kind};
use platform_messaging::{Outgoing, RequestError, decode, encode};
use platform_runtime::telemetry::current_traceparent;

use super::Commands;
use crate::problem::Problem;

/// It may have to ask servers far away.
const PATIENCE: Duration = Duration::from_secs(30);

/// The way out could not answer.
#[derive(Debug, thiserror::Error)]
#[error("vault-proxy: {0}")]
struct Unanswered(String);

impl Commands {
    pub async fn ask_way_out(&self, id: CommandId, action: Action) -> Result<Outcome, Problem> {
        let command = EgressCommand {
            command_id: id.uuid().to_string(),
            sandbox_id: String::new(),
            action: Some(action),
        };
        let message =
            Outgoing::new(EGRESS_COMMANDS, kind::EGRESS_COMMAND, id.uuid(), encode(&command))
                .traceparent(current_traceparent());
        let patience = PATIENCE.min(self.patience * 3);
        let reply = match self.broker.request_message(message, patience).await {
            Ok(reply) => reply,
            Err(failure @ RequestError::TimedOut) => {
                let message = "the way out did not answer in time, try again";
                return Err(Problem::new(FailureKind::Unavailable, message).caused_by(failure));
            }
            Err(failure @ (RequestError::Unavailable { .. } | RequestError::Unroutable)) => {
                return Err(failure.into());
            }
        };
        let reply: EgressReply = decode(&reply).map_err(|fault| unreadable().caused_by(fault))?;
        if !reply.error.is_empty() {
            let message = "the way out cannot answer now, try again";
            let problem = Problem::new(FailureKind::Unavailable, message);
            return Err(problem.caused_by(Unanswered(reply.error)));
        }
        reply.outcome.ok_or_else(unreadable)
    }
}

/// An answer of another kind than the question asks for.
pub fn unreadable() -> Problem {
    Problem::new(FailureKind::Internal, "vault-proxy gave an answer that cannot be read")
}
