//! Removes records whose time is over.

use std::time::Duration;

use chrono::{DateTime, Utc};
use platform_storage::{command_answer, egress_decision, idempotency, secret};

use super::{Context, Job, JobError};

/// How long a repeated request is still answered as the first time.
const REPEATS_KEPT: Duration = Duration::from_hours(24);
/// Whoever stores a secret writes what it belongs to soon after.
const OWNERLESS_KEPT: Duration = Duration::from_hours(24);
const BATCH: u32 = 1_000;

pub fn job() -> Job {
    Job::new("retention", Duration::from_mins(5), Duration::from_mins(2), forget_old)
}

async fn forget_old(context: Context) -> Result<(), JobError> {
    let before = context.clock.now() - REPEATS_KEPT;
    let answers = forget_answers(&context, before).await;
    let keys = forget_keys(&context, before).await;
    let decisions = forget_decisions(&context).await;
    let secrets = forget_secrets(&context).await;
    answers.and(keys).and(decisions).and(secrets)
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

async fn forget_decisions(context: &Context) -> Result<(), JobError> {
    let mut connection = context.database.connection().await?;
    let before = context.clock.now() - context.egress_kept;
    while egress_decision::forget_before(&mut connection, before, BATCH.into()).await? > 0 {}
    Ok(())
}

/// Secrets whose owner was never written, or was deleted while something else broke off.
async fn forget_secrets(context: &Context) -> Result<(), JobError> {
    let mut connection = context.database.connection().await?;
    let before = context.clock.now() - OWNERLESS_KEPT;
    while secret::forget_orphans(&mut connection, before, BATCH.into()).await? > 0 {}
    Ok(())
}
