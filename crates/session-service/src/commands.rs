//! Carries out session commands: one transaction under the session's row lock, then what follows from it.

mod append_journal;
mod archive_session;
mod delete_session;
mod fork_session;
mod open_session;
mod raise_alarm;
mod record_usage;
mod release_sandbox;
mod report_loss;
mod report_startup;
mod report_undeliverable;
mod resume_session;
mod send_events;
mod update_session;

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use platform_core::clock::{Clock, IdSource};
use platform_core::conversation::Moment;
use platform_core::failure::Failure;
use platform_core::id::{CommandId, SessionId, TeamId};
use platform_messaging::proto::session::{
    Refused, SessionCommand, SessionReply, session_command::Action, session_reply::Outcome,
};
use platform_messaging::{Broker, Incoming, Verdict, decode, encode};
use platform_sealing::EncryptionKeys;
use platform_storage::{Connection, Database, StorageError, command_answer};
use tokio_util::task::TaskTracker;
use tracing::{Instrument, error, info_span, warn};
use uuid::Uuid;

use crate::aftermath::{self, Aftermath};
use crate::failure::CommandError;

/// What every command needs.
#[derive(Clone)]
pub struct Context {
    pub database: Database,
    pub broker: Broker,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn IdSource>,
    /// By which secrets are recognised in what is written.
    pub keys: Arc<EncryptionKeys>,
    /// What still has to be published; a shutdown waits for it.
    pub publications: TaskTracker,
}

/// Whom and what a command concerns.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    pub keys: &'a EncryptionKeys,
    pub team: TeamId,
    pub session: SessionId,
    pub moment: Moment<'a>,
}

/// What a command's transaction leads to: its answer, and what is to be published once it is committed.
pub struct Settled {
    pub outcome: Outcome,
    pub aftermath: Aftermath,
}

/// Takes a message of the queue `session.commands`.
pub async fn take(context: Context, incoming: Incoming) -> Verdict {
    let command = match decode::<SessionCommand>(&incoming.body) {
        Ok(command) => command,
        Err(failure) => {
            error!(error = %failure, "a message on session.commands cannot be read");
            return Verdict::DeadLetter;
        }
    };
    let span = info_span!(
        "session_command",
        command = action_name(command.action.as_ref()),
        session.id = %command.session_id,
    );
    carry_out(context, command).instrument(span).await
}

/// Carries out one command and answers it. What fails for a passing reason is tried again by redelivery.
pub async fn carry_out(context: Context, command: SessionCommand) -> Verdict {
    match settle(&context, command).await {
        Ok(settled) => {
            let follow_up = context.clone();
            context.publications.spawn(aftermath::publish(follow_up, settled.aftermath));
            Verdict::Answer(encode(&SessionReply { outcome: Some(settled.outcome) }))
        }
        Err(CommandError::Refused(refused)) => {
            Verdict::Answer(encode(&SessionReply { outcome: Some(Outcome::Refused(refused)) }))
        }
        Err(CommandError::Storage(failure)) if failure.is_transient() => {
            warn!(error = %failure, "the command waits for the database");
            Verdict::Retry
        }
        // The same command was carried out elsewhere at this moment; its answer will be found.
        Err(CommandError::Storage(StorageError::AlreadyExists(_))) => Verdict::Retry,
        Err(failure) => {
            error!(error = &failure as &dyn std::error::Error, "the command failed");
            Verdict::Answer(encode(&SessionReply { outcome: Some(internal(&failure)) }))
        }
    }
}

/// [`carry_out`] for what follows from another command: boxed, because what follows it may in turn lead here.
pub fn carry_out_follow_up(
    context: Context,
    command: SessionCommand,
) -> BoxFuture<'static, Verdict> {
    carry_out(context, command).boxed()
}

async fn settle(context: &Context, command: SessionCommand) -> Result<Settled, CommandError> {
    let team = parse_id(&command.team_id).map(TeamId::from_uuid)?;
    let session = parse_id(&command.session_id).map(SessionId::from_uuid)?;
    let id = parse_id(&command.command_id).map(CommandId::from_uuid)?;
    let action =
        command.action.ok_or_else(|| CommandError::invalid("the command has no action"))?;
    let ids = Arc::clone(&context.ids);
    let moment = Moment { now: context.clock.now(), ids: ids.as_ref() };
    let keys = Arc::clone(&context.keys);
    let scope = Scope { keys: keys.as_ref(), team, session, moment };
    let is_recorded = answers_are_kept(&action);
    context
        .database
        .transaction(async move |connection: &mut Connection| {
            if is_recorded && let Some(answer) = command_answer::find(connection, id).await? {
                let outcome = decode::<SessionReply>(&answer)?.outcome;
                let outcome = outcome.ok_or_else(|| CommandError::invalid("an empty answer"))?;
                return Ok(Settled { outcome, aftermath: Aftermath::default() });
            }
            let settled = perform(connection, scope, action).await?;
            if is_recorded {
                let reply = SessionReply { outcome: Some(settled.outcome.clone()) };
                command_answer::put(connection, id, &encode(&reply), moment.now).await?;
            }
            Ok(settled)
        })
        .await
}

async fn perform(
    connection: &mut Connection,
    scope: Scope<'_>,
    action: Action,
) -> Result<Settled, CommandError> {
    match action {
        Action::Open(open) => open_session::open_session(connection, scope, open).await,
        Action::SendEvents(send) => send_events::send_events(connection, scope, send).await,
        Action::Update(update) => update_session::update_session(connection, scope, update).await,
        Action::Archive(archive) => {
            archive_session::archive_session(connection, scope, archive).await
        }
        Action::Delete(_) => delete_session::delete_session(connection, scope).await,
        Action::Fork(fork) => fork_session::fork_session(connection, scope, fork).await,
        Action::AppendJournal(batch) => {
            append_journal::append_journal(connection, scope, batch).await
        }
        Action::ReportStartup(report) => {
            report_startup::report_startup(connection, scope, report).await
        }
        Action::ReportLoss(report) => report_loss::report_loss(connection, scope, report).await,
        Action::ReleaseSandbox(release) => {
            release_sandbox::release_sandbox(connection, scope, release).await
        }
        Action::ReportUndeliverable(report) => {
            report_undeliverable::report_undeliverable(connection, scope, report).await
        }
        Action::Resume(_) => resume_session::resume_session(connection, scope).await,
        Action::RecordUsage(usage) => record_usage::record_usage(connection, scope, usage).await,
        Action::RaiseAlarm(alarm) => raise_alarm::raise_alarm(connection, scope, alarm).await,
    }
}

/// Commands of clients, and those that count, are answered from the record when they come again. What sandboxes report carries its own numbers
/// (epoch, journal entry, phase) by which a repeat is known.
fn answers_are_kept(action: &Action) -> bool {
    match action {
        Action::Open(_)
        | Action::SendEvents(_)
        | Action::Update(_)
        | Action::Archive(_)
        | Action::Delete(_)
        | Action::Fork(_)
        | Action::RecordUsage(_)
        | Action::RaiseAlarm(_) => true,
        Action::Resume(_)
        | Action::AppendJournal(_)
        | Action::ReportStartup(_)
        | Action::ReportLoss(_)
        | Action::ReleaseSandbox(_)
        | Action::ReportUndeliverable(_) => false,
    }
}

fn action_name(action: Option<&Action>) -> &'static str {
    match action {
        Some(Action::Open(_)) => "open_session",
        Some(Action::SendEvents(_)) => "send_events",
        Some(Action::Update(_)) => "update_session",
        Some(Action::Archive(_)) => "archive_session",
        Some(Action::Delete(_)) => "delete_session",
        Some(Action::Fork(_)) => "fork_session",
        Some(Action::AppendJournal(_)) => "append_journal",
        Some(Action::ReportStartup(_)) => "report_startup",
        Some(Action::ReportLoss(_)) => "report_loss",
        Some(Action::ReleaseSandbox(_)) => "release_sandbox",
        Some(Action::ReportUndeliverable(_)) => "report_undeliverable",
        Some(Action::Resume(_)) => "resume_session",
        Some(Action::RecordUsage(_)) => "record_usage",
        Some(Action::RaiseAlarm(_)) => "raise_alarm",
        None => "none",
    }
}

pub(crate) fn parse_id(text: &str) -> Result<Uuid, CommandError> {
    Uuid::try_parse(text).map_err(|_| CommandError::invalid("an id in the command is no UUID"))
}

fn internal(failure: &CommandError) -> Outcome {
    Outcome::Refused(Refused {
        kind: failure.kind().as_word().to_owned(),
        code: "internal".to_owned(),
        message: "the session service could not carry out the command; its log says why".to_owned(),
    })
}
