//! Opens a session, or finds the live one of the same context.

use std::collections::BTreeMap;

use platform_core::agent::AgentSnapshot;
use platform_core::conversation::{Conversation, Unfinished};
use platform_core::id::{AgentId, EnvironmentId};
use platform_core::session::{ClientEvent, Session};
use platform_messaging::proto::session::{OpenSession, SessionOpened, session_reply::Outcome};
use platform_storage::{Connection, session, team};
use serde::de::DeserializeOwned;

use super::{Scope, Settled, parse_id};
use crate::aftermath::Aftermath;
use crate::failure::CommandError;
use crate::redaction::Redaction;
use crate::stored;

pub async fn open_session(
    connection: &mut Connection,
    scope: Scope<'_>,
    command: OpenSession,
) -> Result<Settled, CommandError> {
    let agent_id = AgentId::from_uuid(parse_id(&command.agent_id)?);
    let context = command.context.clone();
    if let Some(live) = find_live(connection, scope, agent_id, context.as_deref()).await? {
        return Ok(found(&live));
    }
    let redaction = Redaction::of(connection, scope.keys, scope.team, scope.session).await?;
    let initial_events: Vec<ClientEvent> = redaction.read(&command.initial_events)?;
    let session = new_session(scope, command)?;
    let allowance = team::allowance(connection, scope.team).await?;
    let mut conversation = Conversation::begin(session, scope.moment).of_team(allowance);
    if !initial_events.is_empty() {
        conversation.send(initial_events, Unfinished::default(), scope.moment)?;
    }
    let outcome = opened(conversation.session(), true);
    if let Some(aftermath) = stored::store_new(connection, conversation, scope.moment).await? {
        return Ok(Settled { outcome, aftermath });
    }
    // Somebody opened it at the same moment, and the insert waited for that.
    match find_live(connection, scope, agent_id, context.as_deref()).await? {
        Some(live) => Ok(found(&live)),
        None => Err(CommandError::invalid("the session's id is taken")),
    }
}

async fn find_live(
    connection: &mut Connection,
    scope: Scope<'_>,
    agent_id: AgentId,
    context: Option<&str>,
) -> Result<Option<Session>, CommandError> {
    Ok(match context {
        Some(context) => {
            session::find_live_by_context(connection, scope.team, agent_id, context).await?
        }
        None => None,
    })
}

fn found(session: &Session) -> Settled {
    Settled { outcome: opened(session, false), aftermath: Aftermath::default() }
}

fn new_session(scope: Scope<'_>, command: OpenSession) -> Result<Session, CommandError> {
    let agent: AgentSnapshot = serde_json::from_slice(&command.agent_snapshot)?;
    let metadata: BTreeMap<String, String> = serde_json::from_slice(&command.metadata)?;
    let environment_id = EnvironmentId::from_uuid(parse_id(&command.environment_id)?);
    let new = Session::new(scope.session, scope.team, agent, environment_id, scope.moment.now);
    Ok(Session {
        context: command.context,
        title: command.title,
        metadata,
        vault_ids: command.vault_ids,
        budget: optional(&command.budget)?,
        environment_variables: optional(&command.environment_variables)?.unwrap_or_default(),
        ..new
    })
}

/// JSON that may be left out.
fn optional<T: DeserializeOwned>(json: &[u8]) -> Result<Option<T>, CommandError> {
    if json.is_empty() { Ok(None) } else { Ok(Some(serde_json::from_slice(json)?)) }
}

pub(super) fn opened(session: &Session, created: bool) -> Outcome {
    Outcome::Opened(SessionOpened { session_id: session.id.uuid().to_string(), created })
}
