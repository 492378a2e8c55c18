//! Archives sessions that nobody has touched for longer than their team keeps them open.

use std::time::Duration;

use platform_messaging::proto::session::{ArchiveSession, session_command::Action};
use platform_storage::session::{self, Due};

use super::ask::{Question, ask_all};
use super::{Context, Job, JobError};

/// Per team and round: however many are due, each team gets its turn.
const BATCH: u32 = 200;

pub fn job() -> Job {
    let (pause, limit) = (Duration::from_mins(1), Duration::from_secs(45));
    Job::new("archiving", pause, limit, archive_inactive)
}

async fn archive_inactive(context: Context) -> Result<(), JobError> {
    let now = context.clock.now();
    let mut connection = context.database.connection().await?;
    let inactive = session::list_inactive(&mut connection, now, BATCH).await?;
    drop(connection);
    ask_all(&context, inactive.into_iter().map(archive)).await
}

fn archive(due: Due) -> Question {
    // A message that arrives meanwhile wins.
    let since = Some(due.updated_at.timestamp_micros());
    let action = Action::Archive(ArchiveSession { if_untouched_since_unix_micros: since });
    Question { team: due.team_id, session: due.session_id, action }
}
