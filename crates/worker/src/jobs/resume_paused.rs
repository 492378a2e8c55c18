//! Goes on with sessions that stood still for want of money and whose budget, or whose team's, was raised since.

use std::time::Duration;

use platform_messaging::proto::session::{ResumeSession, session_command::Action};
use platform_storage::session::{self, Due};

use super::ask::{Question, ask_all};
use super::{Context, Job, JobError};

const BATCH: u32 = 100;

pub fn job() -> Job {
    Job::new("resumption", Duration::from_secs(5), Duration::from_secs(30), resume_paused)
}

async fn resume_paused(context: Context) -> Result<(), JobError> {
    let mut past: Option<Due> = None;
    loop {
        let mut connection = context.database.connection().await?;
        let paused = session::list_resumable(&mut connection, past.as_ref(), BATCH).await?;
        drop(connection);
        let Some(last) = paused.last().copied() else { return Ok(()) };
        past = Some(last);
        ask_all(&context, paused.iter().map(resume)).await?;
    }
}

fn resume(paused: &Due) -> Question {
    let action = Action::Resume(ResumeSession {});
    Question { team: paused.team_id, session: paused.session_id, action }
}
