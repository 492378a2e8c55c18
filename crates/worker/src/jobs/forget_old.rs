//! Removes records whose time is over.

use std::time::Duration;

use platform_storage::{command_answer, idempotency};

use super::{Context, JobError};

/// How long a repeated request is still answered as the first time.
const REPEATS_KEPT: Duration = Duration::from_hours(24);

pub async fn forget_old(context: Context) -> Result<(), JobError> {
    let before = context.clock.now() - REPEATS_KEPT;
    let mut connection = context.database.connection().await?;
    command_answer::delete_older_than(&mut connection, before).await?;
    idempotency::delete_older_than(&mut connection, before).await?;
    Ok(())
}
