//! Sends what a crash, or a broker that was away, left in the outbox.

use std::time::Duration;

use platform_messaging::proto::sandbox::SandboxCommand;
use platform_messaging::proto::session::{
    ReportUndeliverable, SessionCommand, session_command::Action,
};
use platform_messaging::topology::{self, kind};
use platform_messaging::{Delivered, Outgoing, decode, encode};
use platform_storage::outbox::{self, OutboxMessage};
use tracing::{error, info};

use super::{Context, JobError};

/// Younger messages are still in the hands of whoever wrote them.
const LEFT_BEHIND_AFTER: Duration = Duration::from_secs(2);
const BATCH: u32 = 100;

/// Sends until nothing is left behind, in the order in which the messages were put.
pub async fn sweep_outbox(context: Context) -> Result<(), JobError> {
    loop {
        let sent = context.database.transaction(async |connection| {
            let before = context.clock.now() - LEFT_BEHIND_AFTER;
            let left_behind = outbox::take_unsent(connection, before, BATCH).await?;
            let mut sent = Vec::with_capacity(left_behind.len());
            for message in &left_behind {
                match send(&context, message).await {
                    Ok(()) => sent.push(message.id),
                    // What was sent before is forgotten all the same.
                    Err(failure) if sent.is_empty() => return Err(failure),
                    Err(_) => break,
                }
            }
            outbox::delete(connection, &sent).await?;
            Ok::<_, JobError>(sent.len())
        });
        match sent.await? {
            0 => return Ok(()),
            count => info!(count, "sent messages that were left in the outbox"),
        }
    }
}

async fn send(context: &Context, message: &OutboxMessage) -> Result<(), JobError> {
    match context.broker.publish(outgoing(message)).await? {
        Delivered::Routed => Ok(()),
        Delivered::Unroutable => report_undeliverable(context, message).await,
    }
}

fn outgoing(message: &OutboxMessage) -> Outgoing {
    Outgoing {
        exchange: message.exchange.clone().into(),
        routing_key: message.routing_key.clone().into(),
        kind: message.kind.clone().into(),
        message_id: message.id,
        mandatory: message.mandatory,
        persistent: true,
        body: message.body.clone(),
        reply: None,
        traceparent: None,
    }
}

/// Tells session-service that nobody holds the link which the message was for.
async fn report_undeliverable(context: &Context, message: &OutboxMessage) -> Result<(), JobError> {
    let Some(command) = undeliverable(&message.body) else {
        error!(message.kind, "a message came back that nobody can answer for");
        return Ok(());
    };
    let route = topology::SESSION_COMMANDS;
    let report = Outgoing::new(route, kind::SESSION_COMMAND, message.id, encode(&command));
    context.broker.publish(report).await?;
    Ok(())
}

fn undeliverable(body: &[u8]) -> Option<SessionCommand> {
    let command: SandboxCommand = decode(body).ok()?;
    let report = ReportUndeliverable { command: body.to_vec() };
    Some(SessionCommand {
        command_id: command.command_id,
        team_id: command.team_id,
        session_id: command.session_id,
        action: Some(Action::ReportUndeliverable(report)),
    })
}
