//! Gives back the sandboxes of sessions that have been idle for longer than their environment allows.

use std::time::Duration;

use platform_messaging::proto::session::{ReleaseSandbox, session_command::Action};
use platform_storage::session::{self, IdleSandbox};

use super::ask::{Question, ask_all};
use super::{Context, Job, JobError};

const BATCH: u32 = 100;

pub fn job() -> Job {
    Job::new("idle release", Duration::from_secs(15), Duration::from_secs(30), release_idle)
}

/// Asks session-service for each: a message that arrives meanwhile wins.
async fn release_idle(context: Context) -> Result<(), JobError> {
    let now = context.clock.now();
    let mut past: Option<IdleSandbox> = None;
    loop {
        let mut connection = context.database.connection().await?;
        let overdue =
            session::list_idle_with_sandbox(&mut connection, now, past.as_ref(), BATCH).await?;
        drop(connection);
        let Some(last) = overdue.last().cloned() else { return Ok(()) };
        past = Some(last);
        ask_all(&context, overdue.iter().map(release)).await?;
    }
}

fn release(idle: &IdleSandbox) -> Question {
    let release = ReleaseSandbox {
        sandbox_id: idle.sandbox_id.uuid().to_string(),
        epoch: idle.epoch.0,
        reason: "idle".to_owned(),
    };
    Question {
        team: idle.team_id,
        session: idle.session_id,
        action: Action::ReleaseSandbox(release),
    }
}
