//! Removes records whose time is over.

use std::time::Duration;

use chrono::{DateTime, Utc};
use platform_storage::{command_answer, idempotency};

use super::{Context, Job, JobError};

/// How long a repeated request is still answered as the first time.
const REPEATS_KEPT: Duration = Duration::from_hours(24);
const BATCH: u32 = 1_000;

pub fn job() -> Job {
    Job::new("retention", Duration::from_mins(5), Duration::from_mins(2), forget_old)
}

async fn forget_old(context: Context) -> Result<(), JobError> {
    let before = context.clock.now() - REPEATS_KEPT;
    let answers = forget_answers(&context, before).await;
    let keys = forget_keys(&context, before).await;
    answers.and(keys)
}

async fn forget_answers(context: &Context, before: DateTime<Utc>) -> Result<(), JobError> {
    let mut connection = context.database.connection().await?;
    while command_answer::delete_older_than(&mut connection, before, BATCH).await? > 0 {}
    Ok(())
}

async fn forget_keys(context: &Context, before: DateTime<Utc>) -> Result<(), JobError> {
    let mut connection = context.database.connection().await?;
    while idempotency::delete_older_than(&mut connection, before, BATCH).await? > 0 {}
    Ok(())
}
