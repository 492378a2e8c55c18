//! Turns what the rules want sent into messages for the outbox.

use std::collections::BTreeMap;

use platform_core::conversation::{Moment, Outgoing, StopWhy};
use platform_core::environment::{EnvironmentConfig, SandboxSpec};
use platform_core::id::{CommandId, EventId, SandboxId, TurnId};
use platform_core::sandbox::{Epoch, SessionSpec};
use platform_core::session::{EventBody, Session};
use platform_core::turn::{AnsweredAction, Turn};
use platform_messaging::encode;
use platform_messaging::proto::sandbox::sandbox_command::Action;
use platform_messaging::proto::sandbox::{
    AnswerAction, InterruptTurn, ProvisionSandbox, SandboxCommand, StartTurn, StopSandbox,
};
use platform_messaging::topology::{self, Route, kind};
use platform_storage::outbox::OutboxMessage;
use platform_storage::{Connection, environment, event, turn};
use serde_json::{Map, Value};

use crate::failure::CommandError;
use crate::transcript;

/// Composes the messages in their order. Reads what they need from the same transaction, so that they say what was committed.
pub async fn compose(
    connection: &mut Connection,
    session: &Session,
    wanted: Vec<Outgoing>,
    moment: Moment<'_>,
) -> Result<Vec<OutboxMessage>, CommandError> {
    let mut messages = Vec::with_capacity(wanted.len());
    for outgoing in wanted {
        messages.push(compose_one(connection, session, outgoing, moment).await?);
    }
    Ok(messages)
}

async fn compose_one(
    connection: &mut Connection,
    session: &Session,
    outgoing: Outgoing,
    moment: Moment<'_>,
) -> Result<OutboxMessage, CommandError> {
    let envelope = Envelope { session, moment };
    match outgoing {
        Outgoing::ProvisionSandbox { epoch } => {
            let provision = provision(connection, session).await?;
            let action = Action::Provision(provision);
            Ok(envelope.seal(topology::SANDBOX_COMMANDS, epoch, action))
        }
        Outgoing::StopSandbox { sandbox, epoch, reason } => {
            let action = Action::Stop(StopSandbox {
                sandbox_id: sandbox.map_or_else(String::new, |id| id.uuid().to_string()),
                reason: reason.as_word().to_owned(),
                remove_workspace: reason == StopWhy::Deleted,
            });
            Ok(envelope.seal(topology::SANDBOX_COMMANDS, epoch, action))
        }
        Outgoing::StartTurn { sandbox, epoch, turn } => {
            let start = start_turn(connection, session, sandbox, &turn).await?;
            let route = topology::sandbox_link(sandbox);
            Ok(mandatory(envelope.seal(route, epoch, Action::StartTurn(start))))
        }
        Outgoing::InterruptTurn { sandbox, epoch, turn } => {
            let action = Action::InterruptTurn(interrupt_turn(sandbox, turn));
            Ok(mandatory(envelope.seal(topology::sandbox_link(sandbox), epoch, action)))
        }
        Outgoing::AnswerAction { sandbox, epoch, turn, call } => {
            let action = Action::AnswerAction(answer_action(sandbox, &turn, call)?);
            Ok(mandatory(envelope.seal(topology::sandbox_link(sandbox), epoch, action)))
        }
    }
}

struct Envelope<'a> {
    session: &'a Session,
    moment: Moment<'a>,
}

impl Envelope<'_> {
    fn seal(&self, route: Route, epoch: Epoch, action: Action) -> OutboxMessage {
        let id = CommandId::mint(self.moment.ids).uuid();
        let command = SandboxCommand {
            command_id: id.to_string(),
            team_id: self.session.team_id.uuid().to_string(),
            session_id: self.session.id.uuid().to_string(),
            epoch: epoch.0,
            action: Some(action),
        };
        OutboxMessage {
            id,
            session_id: Some(self.session.id.uuid()),
            exchange: route.exchange.to_owned(),
            routing_key: route.routing_key.into_owned(),
            kind: kind::SANDBOX_COMMAND.to_owned(),
            mandatory: false,
            body: encode(&command),
            created_at: self.moment.now,
        }
    }
}

/// Comes back when nobody holds the sandbox's link.
fn mandatory(message: OutboxMessage) -> OutboxMessage {
    OutboxMessage { mandatory: true, ..message }
}

async fn provision(
    connection: &mut Connection,
    session: &Session,
) -> Result<ProvisionSandbox, CommandError> {
    // The first sandbox of a session that begins empty: nothing was said that it could have to know.
    let is_replacement = session.epoch > Epoch(1) || session.forked_from.is_some();
    let open = turn::open_turns(connection, session.team_id, session.id).await?;
    let transcript = if is_replacement {
        transcript::of(connection, session.team_id, session.id).await?
    } else {
        Vec::new()
    };
    let spec = SessionSpec {
        session_id: session.id,
        team_id: session.team_id,
        agent: session.agent.clone(),
        harness_session: session.harness_session.clone(),
        // What vault-proxy answers for the session is added when a sandbox is told what it is for.
        environment: BTreeMap::new(),
        files: Vec::new(),
        transparent_ports: Vec::new(),
        transcript,
        is_replacement,
        has_unfinished_turn: open.first().is_some_and(|turn| turn.attempts > 0),
        former_journal: session.former_journal,
        forked_from: session.forked_from,
    };
    Ok(ProvisionSandbox {
        environment_id: session.environment_id.uuid().to_string(),
        sandbox_spec: serde_json::to_vec(&sandbox_spec(connection, session).await?)?,
        session_spec: serde_json::to_vec(&spec)?,
    })
}

async fn start_turn(
    connection: &mut Connection,
    session: &Session,
    sandbox: SandboxId,
    turn: &Turn,
) -> Result<StartTurn, CommandError> {
    let numbers = [turn.event_number];
    let opened_by = event::by_numbers(connection, session.team_id, session.id, &numbers).await?;
    let prompt = match opened_by.into_iter().next().map(|event| event.body) {
        Some(EventBody::UserMessage { content }) => content,
        Some(_) | None => Vec::new(),
    };
    let silence = sandbox_spec(connection, session).await?.harness_silence_seconds;
    Ok(StartTurn {
        sandbox_id: sandbox.uuid().to_string(),
        turn_id: turn.id.uuid().to_string(),
        attempt: turn.attempts,
        prompt: serde_json::to_vec(&prompt)?,
        harness_silence_seconds: silence,
        answers: serde_json::to_vec(&answered(connection, session, turn).await?)?,
    })
}

/// The answered calls of a turn with what they were, for a sandbox that takes the turn up.
async fn answered(
    connection: &mut Connection,
    session: &Session,
    turn: &Turn,
) -> Result<Vec<AnsweredAction>, CommandError> {
    let ids: Vec<EventId> = turn.actions.iter().map(|action| action.event_id).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let calls = event::by_ids(connection, session.team_id, session.id, &ids).await?;
    let answered = calls.into_iter().filter_map(|call| {
        let action = turn.actions.iter().find(|action| action.event_id == call.id)?;
        let (name, input) = called(call.body)?;
        let (event_id, kind, answer) = (action.event_id, action.kind, action.answer.clone()?);
        Some(AnsweredAction { event_id, kind, name, input, answer })
    });
    Ok(answered.collect())
}

/// The tool of a call and what it was given; `None` for any other event.
fn called(body: EventBody) -> Option<(String, Map<String, Value>)> {
    if let EventBody::AgentToolUse { name, input, .. }
    | EventBody::AgentCustomToolUse { name, input } = body
    {
        Some((name, input))
    } else {
        None
    }
}

fn answer_action(
    sandbox: SandboxId,
    turn: &Turn,
    call: EventId,
) -> Result<AnswerAction, CommandError> {
    let answer = turn.actions.iter().find(|action| action.event_id == call);
    Ok(AnswerAction {
        sandbox_id: sandbox.uuid().to_string(),
        turn_id: turn.id.uuid().to_string(),
        event_id: call.uuid().to_string(),
        answer: serde_json::to_vec(&answer.and_then(|action| action.answer.as_ref()))?,
    })
}

fn interrupt_turn(sandbox: SandboxId, turn: TurnId) -> InterruptTurn {
    InterruptTurn { sandbox_id: sandbox.uuid().to_string(), turn_id: turn.uuid().to_string() }
}

async fn sandbox_spec(
    connection: &mut Connection,
    session: &Session,
) -> Result<SandboxSpec, CommandError> {
    let environment =
        environment::find(connection, session.team_id, session.environment_id).await?;
    Ok(match environment.map(|environment| environment.config) {
        Some(EnvironmentConfig::Cloud { sandbox, .. }) => sandbox,
        Some(EnvironmentConfig::SelfHosted) | None => SandboxSpec::default(),
    })
}
