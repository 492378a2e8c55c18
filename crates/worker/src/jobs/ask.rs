//! Asking session-service, which decides under the session's lock whether what was due still is.

use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use platform_core::id::{CommandId, SessionId, TeamId};
use platform_messaging::proto::session::session_command::Action;
use platform_messaging::proto::session::session_reply::Outcome;
use platform_messaging::proto::session::{SessionCommand, SessionReply};
use platform_messaging::topology::{self, kind};
use platform_messaging::{decode, encode};
use tracing::debug;

use super::{Context, JobError};

/// Commands under way at once. Few, so that a user's command never waits behind a heap of ours.
const AT_ONCE: usize = 8;
const PATIENCE: Duration = Duration::from_secs(5);

/// What is to happen to a session.
pub(super) struct Question {
    pub(super) team: TeamId,
    pub(super) session: SessionId,
    pub(super) action: Action,
}

/// Asks everything, and waits for the answers; the first that does not come ends it, because the rest would only pile up in the queue.
/// A refusal is an answer: then the session is past what was due.
pub(super) async fn ask_all(
    context: &Context,
    questions: impl IntoIterator<Item = Question>,
) -> Result<(), JobError> {
    stream::iter(questions)
        .map(|question| ask(context, question))
        .buffer_unordered(AT_ONCE)
        .try_for_each(async |()| Ok(()))
        .await
}

async fn ask(context: &Context, question: Question) -> Result<(), JobError> {
    let id = CommandId::mint(context.ids.as_ref()).uuid();
    let command = SessionCommand {
        command_id: id.to_string(),
        team_id: question.team.uuid().to_string(),
        session_id: question.session.uuid().to_string(),
        action: Some(question.action),
    };
    let (route, body) = (topology::SESSION_COMMANDS, encode(&command));
    let answer = context.broker.request(route, kind::SESSION_COMMAND, id, body, PATIENCE).await?;
    if let Some(Outcome::Refused(refused)) = decode::<SessionReply>(&answer)?.outcome {
        debug!(session.id = %question.session, code = refused.code, "nothing was due any more");
    }
    Ok(())
}
