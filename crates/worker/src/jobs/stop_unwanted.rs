//! Has sandboxes stopped that live on though no session wants them.

use std::time::Duration;

use platform_core::id::CommandId;
use platform_messaging::proto::sandbox::{SandboxCommand, StopSandbox, sandbox_command::Action};
use platform_messaging::topology::{self, kind};
use platform_messaging::{Outgoing, encode};
use platform_storage::sandbox::{self, Unwanted};
use tracing::warn;

use super::{Context, Job, JobError};

const BATCH: u32 = 100;
/// So long an end may take that was asked for.
const UNWANTED_FOR: Duration = Duration::from_mins(5);

pub fn job() -> Job {
    let (pause, limit) = (Duration::from_mins(1), Duration::from_secs(30));
    Job::new("unwanted sandboxes", pause, limit, stop_unwanted)
}

async fn stop_unwanted(context: Context) -> Result<(), JobError> {
    let before = context.clock.now() - UNWANTED_FOR;
    let mut past: Option<Unwanted> = None;
    loop {
        let mut connection = context.database.connection().await?;
        let unwanted =
            sandbox::list_unwanted(&mut connection, before, past.as_ref(), BATCH).await?;
        drop(connection);
        let Some(last) = unwanted.last().cloned() else { return Ok(()) };
        past = Some(last);
        for sandbox in &unwanted {
            warn!(sandbox.id = %sandbox.sandbox_id, session.id = %sandbox.session_id, "a sandbox lives on that no session wants");
            context.broker.publish(stop(&context, sandbox)).await?;
        }
    }
}

/// Named, so that nothing else of the session is stopped. Its files stay as long as there is a session.
fn stop(context: &Context, unwanted: &Unwanted) -> Outgoing {
    let id = CommandId::mint(context.ids.as_ref()).uuid();
    let reason = if unwanted.session_is_deleted { "deleted" } else { "superseded" };
    let command = SandboxCommand {
        command_id: id.to_string(),
        team_id: unwanted.team_id.uuid().to_string(),
        session_id: unwanted.session_id.uuid().to_string(),
        epoch: unwanted.epoch.0,
        action: Some(Action::Stop(StopSandbox {
            sandbox_id: unwanted.sandbox_id.uuid().to_string(),
            reason: reason.to_owned(),
            remove_workspace: unwanted.session_is_deleted,
        })),
    };
    Outgoing::new(topology::SANDBOX_COMMANDS, kind::SANDBOX_COMMAND, id, encode(&command))
}
