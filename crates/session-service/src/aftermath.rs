//! What follows a commit: events are announced, and the outbox's messages leave.
//!
//! Nothing here may be lost for good: the announcement is a hint (the log is the truth, and gateways look into it), and messages that
//! do not leave now stay in the outbox, from which the worker's sweep sends them.

use platform_core::id::{SessionId, TeamId};
use platform_core::session::Event;
use platform_messaging::proto::event::{CommittedEvent, EventsCommitted};
use platform_messaging::proto::sandbox::SandboxCommand;
use platform_messaging::proto::session::{
    ReportUndeliverable, SessionCommand, session_command::Action,
};
use platform_messaging::topology::{self, kind};
use platform_messaging::{Delivered, Outgoing, Verdict, decode, encode};
use platform_storage::outbox::{self, OutboxMessage};
use tracing::{debug, error, warn};
use uuid::Uuid;

use crate::commands::{self, Context};

/// What a transaction left to be published.
#[derive(Default)]
pub struct Aftermath {
    pub team: Option<TeamId>,
    pub session: Option<SessionId>,
    pub events: Vec<Event>,
    pub messages: Vec<OutboxMessage>,
}

impl Aftermath {
    /// Adds what the same transaction led to after that.
    pub fn go_on_with(&mut self, later: Self) {
        self.events.extend(later.events);
        self.messages.extend(later.messages);
    }
}

/// Publishes all of it: first the events, because somebody may be looking.
pub async fn publish(context: Context, aftermath: Aftermath) {
    announce(&context, &aftermath).await;
    send_messages(&context, aftermath.messages).await;
}

async fn announce(context: &Context, aftermath: &Aftermath) {
    let (Some(team), Some(session)) = (aftermath.team, aftermath.session) else {
        return;
    };
    if aftermath.events.is_empty() {
        return;
    }
    let events = aftermath.events.iter().filter_map(|event| {
        let body = serde_json::to_vec(event)
            .inspect_err(|failure| error!(error = %failure, "an event cannot be written as JSON"))
            .ok()?;
        Some(CommittedEvent { number: event.number, body })
    });
    let committed = EventsCommitted {
        team_id: team.uuid().to_string(),
        session_id: session.uuid().to_string(),
        events: events.collect(),
    };
    let route = topology::events_of(session);
    let id = context.ids.uuid();
    let message = Outgoing::new(route, kind::EVENTS_COMMITTED, id, encode(&committed)).transient();
    if let Err(failure) = context.broker.publish(message).await {
        debug!(error = %failure, session.id = %session, "events stay unannounced; readers find them in the log");
    }
}

/// Sends messages in their order; the first that cannot leave keeps those behind it in the outbox.
async fn send_messages(context: &Context, messages: Vec<OutboxMessage>) {
    let mut sent = Vec::with_capacity(messages.len());
    for message in messages {
        match context.broker.publish(outgoing(&message)).await {
            Ok(Delivered::Routed) => sent.push(message.id),
            Ok(Delivered::Unroutable) if report_undeliverable(context, &message).await => {
                sent.push(message.id);
            }
            Ok(Delivered::Unroutable) => {}
            Err(failure) => {
                warn!(error = %failure, "messages stay in the outbox for now");
                break;
            }
        }
    }
    forget(context, sent).await;
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

async fn forget(context: &Context, sent: Vec<Uuid>) {
    if sent.is_empty() {
        return;
    }
    let forgotten = async {
        let mut connection = context.database.connection().await?;
        outbox::delete(&mut connection, &sent).await
    };
    // Then the sweep sends them once more, which changes nothing.
    if let Err(failure) = forgotten.await {
        warn!(error = %failure, "sent messages stay in the outbox");
    }
}

/// Carries out what follows from a message that came back. False: it could not be done now, and the sweep will try again.
async fn report_undeliverable(context: &Context, message: &OutboxMessage) -> bool {
    let Some(command) = undeliverable(&message.body) else {
        error!(message.kind, "a message came back that nobody can answer for");
        return true;
    };
    debug!(message.kind, "a message to a sandbox found no link");
    let verdict = commands::carry_out_follow_up(context.clone(), command).await;
    matches!(verdict, Verdict::Answer(_))
}

/// The report that answers for a sandbox command which found no link.
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
