//! Taking a job in hand, and giving it back.
//!
//! Leases run by PostgreSQL's clock, the one that all replicas share: with clocks of their own a replica whose clock is ahead would
//! leave behind leases that never end for the others.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{Double, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::schema::job_leases;
use crate::{Connection, StorageError};

/// Takes the job for `duration` from now: when nobody has it, when whoever had it let his time run out, or once more when it is
/// `holder`'s already. Answers whether it is `holder`'s now.
pub async fn claim(
    connection: &mut Connection,
    job: &str,
    holder: Uuid,
    duration: Duration,
) -> Result<bool, StorageError> {
    let claimed = diesel::sql_query(
        "insert into job_leases (job, holder, until)
         values ($1, $2, clock_timestamp() + make_interval(secs => $3))
         on conflict (job) do update set holder = excluded.holder, until = excluded.until
         where job_leases.holder = excluded.holder or job_leases.until < clock_timestamp()",
    )
    .bind::<Text, _>(job)
    .bind::<SqlUuid, _>(holder)
    .bind::<Double, _>(duration.as_secs_f64())
    .execute(connection)
    .await?;
    Ok(claimed == 1)
}

/// Whether the job is still `holder`'s. If so nobody else gets it before the transaction ends, however long that takes.
pub async fn hold(
    connection: &mut Connection,
    job: &str,
    holder: Uuid,
) -> Result<bool, StorageError> {
    let held: Option<Uuid> = job_leases::table
        .filter(job_leases::job.eq(job))
        .filter(job_leases::holder.eq(holder))
        .select(job_leases::holder)
        .for_update()
        .first(connection)
        .await
        .optional()?;
    Ok(held.is_some())
}

/// Gives the job back before its time is over, so that another replica need not wait for that.
pub async fn release(
    connection: &mut Connection,
    job: &str,
    holder: Uuid,
) -> Result<(), StorageError> {
    diesel::delete(job_leases::table)
        .filter(job_leases::job.eq(job))
        .filter(job_leases::holder.eq(holder))
        .execute(connection)
        .await?;
    Ok(())
}
