//! Finds sessions that count on a sandbox which does not exist, whatever was lost that should have told them.

use std::time::Duration;

use platform_messaging::proto::session::{ReportLoss, session_command::Action};
use platform_storage::session::{self, Bereft, BereftSince};
use tracing::warn;

use super::ask::{Question, ask_all};
use super::{Context, Job, JobError};

const BATCH: u32 = 100;
/// Reports and commands on their way arrive within this.
const LOST_AFTER: Duration = Duration::from_mins(2);
/// A command to bring a sandbox up may wait this long for a sandbox-service that is away, which is not for us to call a loss.
const NEVER_BEGUN_AFTER: Duration = Duration::from_mins(10);

pub fn job() -> Job {
    let (pause, limit) = (Duration::from_mins(1), Duration::from_secs(30));
    Job::new("session reconciliation", pause, limit, reconcile_sessions)
}

/// Reports each loss once more: session-service takes it only from the epoch that the session is at.
///
/// Acts on rows that were read and say so, never because something could not be asked.
async fn reconcile_sessions(context: Context) -> Result<(), JobError> {
    let now = context.clock.now();
    let since = BereftSince { lost: now - LOST_AFTER, never_begun: now - NEVER_BEGUN_AFTER };
    let mut past: Option<Bereft> = None;
    loop {
        let mut connection = context.database.connection().await?;
        let bereft = session::list_bereft(&mut connection, since, past.as_ref(), BATCH).await?;
        drop(connection);
        let Some(last) = bereft.last().cloned() else { return Ok(()) };
        past = Some(last);
        for session in &bereft {
            warn!(session.id = %session.session_id, epoch = session.epoch.0, "the session's sandbox does not exist");
        }
        ask_all(&context, bereft.iter().map(report)).await?;
    }
}

fn report(bereft: &Bereft) -> Question {
    let loss = ReportLoss {
        epoch: bereft.epoch.0,
        sandbox_id: bereft.sandbox_id.map_or_else(String::new, |id| id.uuid().to_string()),
        reason: "vanished".to_owned(),
        message: "the session's sandbox does not exist any more, and nothing was heard of its end"
            .to_owned(),
        may_retry: true,
    };
    Question { team: bereft.team_id, session: bereft.session_id, action: Action::ReportLoss(loss) }
}
