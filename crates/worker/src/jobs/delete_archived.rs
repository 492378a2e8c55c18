//! Deletes sessions that have been archived for longer than their team keeps them.

use std::time::Duration;

use platform_messaging::proto::session::{DeleteSession, session_command::Action};
use platform_storage::session::{self, Due};

use super::ask::{Question, ask_all};
use super::{Context, Job, JobError};

/// Per team and round: however many are due, each team gets its turn.
const BATCH: u32 = 200;

pub fn job() -> Job {
    let (pause, limit) = (Duration::from_mins(1), Duration::from_secs(45));
    Job::new("deletion", pause, limit, delete_archived)
}

async fn delete_archived(context: Context) -> Result<(), JobError> {
    let now = context.clock.now();
    let mut connection = context.database.connection().await?;
    let outdated = session::list_archived_for_long(&mut connection, now, BATCH).await?;
    drop(connection);
    ask_all(&context, outdated.into_iter().map(delete)).await
}

fn delete(due: Due) -> Question {
    let action = Action::Delete(DeleteSession {});
    Question { team: due.team_id, session: due.session_id, action }
}
