//! Sends what a crash, or a broker that was away, left in the outbox.

mod patience;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::{self, StreamExt};
use platform_messaging::proto::sandbox::SandboxCommand;
use platform_messaging::proto::session::{
    ReportUndeliverable, SessionCommand, session_command::Action,
};
use platform_messaging::topology::{self, kind};
use platform_messaging::{Delivered, Outgoing, PublishError, decode, encode};
use platform_storage::outbox::{self, OutboxMessage};
use platform_storage::{Connection, job_lease};
use tracing::{error, info};
use uuid::Uuid;

use super::{Context, Job, JobError};
use patience::{Patience, pass_over};

const NAME: &str = "outbox sweep";
/// Younger messages are still in the hands of whoever wrote them.
const LEFT_BEHIND_AFTER: Duration = Duration::from_secs(2);
const BATCH: u32 = 200;
/// Sessions whose messages are sent at the same time.
const AT_ONCE: usize = 16;

pub fn job() -> Job {
    let patience = Arc::new(Mutex::new(Patience::default()));
    Job::new(NAME, Duration::from_secs(1), Duration::from_secs(15), move |context| {
        sweep_outbox(context, patience.clone())
    })
}

/// What became of a batch.
#[derive(Default)]
struct Swept {
    sent: Vec<Uuid>,
    failed: Vec<(OutboxMessage, PublishError)>,
}

/// Sends until nothing is left behind. What one session waits for leaves in the order in which it was put; a message that the broker does not
/// take holds up what comes behind it in its session, and nothing else.
async fn sweep_outbox(context: Context, patience: Arc<Mutex<Patience>>) -> Result<(), JobError> {
    let now = context.clock.now();
    let mut passed_over = lock(&patience).not_due(now);
    loop {
        let swept = context.database.transaction(async |connection: &mut Connection| {
            // Two that send at once would break the order.
            if !job_lease::hold(connection, NAME, context.holder).await? {
                return Err(JobError::TakenOver);
            }
            let before = now - LEFT_BEHIND_AFTER;
            let left_behind =
                outbox::take_unsent_beside(connection, &passed_over, before, BATCH).await?;
            let swept = send_all(&context, left_behind).await;
            outbox::delete(connection, &swept.sent).await?;
            Ok(swept)
        });
        let Swept { sent, failed } = swept.await?;
        if !sent.is_empty() {
            info!(count = sent.len(), "sent messages that were left in the outbox");
        }
        if sent.is_empty() && failed.is_empty() {
            return Ok(());
        }
        for (message, failure) in failed {
            if !context.broker.is_connected() {
                // Then it says nothing about the message.
                return Err(failure.into());
            }
            error!(message.id = %message.id, message.kind, error = %failure, "a message stays in the outbox");
            lock(&patience).hold(&message, now);
            pass_over(&mut passed_over, message.id, message.session_id);
        }
    }
}

/// Each session's messages one after the other, those of several sessions at once.
///
/// A message that the broker refuses takes down the channel, and with it what others have on their way there. So whatever failed in
/// company is tried once more alone, before it counts as the message's own fault.
async fn send_all(context: &Context, messages: Vec<OutboxMessage>) -> Swept {
    let mut lines: BTreeMap<Uuid, VecDeque<OutboxMessage>> = BTreeMap::new();
    for message in messages {
        lines.entry(message.session_id.unwrap_or(message.id)).or_default().push_back(message);
    }
    let outcomes: Vec<_> = stream::iter(lines.into_values())
        .map(|line| send_line(context, line))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut swept = Swept::default();
    for mut line in outcomes {
        swept.sent.append(&mut line.sent);
        if line.failure.is_some() && context.broker.is_connected() {
            line = send_line(context, line.left).await;
            swept.sent.append(&mut line.sent);
        }
        if let (Some(failure), Some(message)) = (line.failure, line.left.pop_front()) {
            swept.failed.push((message, failure));
        }
    }
    swept
}

/// What became of the messages of one session.
#[derive(Default)]
struct Line {
    sent: Vec<Uuid>,
    failure: Option<PublishError>,
    /// The one that failed, and what comes behind it.
    left: VecDeque<OutboxMessage>,
}

async fn send_line(context: &Context, left: VecDeque<OutboxMessage>) -> Line {
    let mut line = Line { left, ..Line::default() };
    while let Some(message) = line.left.front() {
        if let Err(failure) = send(context, message).await {
            line.failure = Some(failure);
            break;
        }
        line.sent.push(message.id);
        line.left.pop_front();
    }
    line
}

async fn send(context: &Context, message: &OutboxMessage) -> Result<(), PublishError> {
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
async fn report_undeliverable(
    context: &Context,
    message: &OutboxMessage,
) -> Result<(), PublishError> {
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

fn lock(patience: &Mutex<Patience>) -> std::sync::MutexGuard<'_, Patience> {
    patience.lock().unwrap_or_else(PoisonError::into_inner)
}
