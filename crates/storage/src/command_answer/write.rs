//! Keeping answers to commands.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Timestamptz};
use diesel_async::RunQueryDsl;
use platform_core::id::CommandId;

use crate::schema::command_answers;
use crate::{Connection, StorageError};

/// Keeps the answer, in the transaction that carried the command out.
///
/// `AlreadyExists` means that the same command was carried out at the same time elsewhere: roll back and answer as that one did.
pub async fn put(
    connection: &mut Connection,
    command: CommandId,
    answer: &[u8],
    now: DateTime<Utc>,
) -> Result<(), StorageError> {
    diesel::insert_into(command_answers::table)
        .values((
            command_answers::command_id.eq(command.uuid()),
            command_answers::answer.eq(answer),
            command_answers::created_at.eq(now),
        ))
        .execute(connection)
        .await?;
    Ok(())
}

/// Forgets answers for which no repeat comes any more, at most `limit` of them, so that nobody waits long behind it. Answers how many.
pub async fn delete_older_than(
    connection: &mut Connection,
    before: DateTime<Utc>,
    limit: u32,
) -> Result<usize, StorageError> {
    let deleted = diesel::sql_query(
        "delete from command_answers where ctid = any (array(
             select ctid from command_answers where created_at < $1 order by created_at limit $2))",
    )
    .bind::<Timestamptz, _>(before)
    .bind::<BigInt, _>(i64::from(limit))
    .execute(connection)
    .await?;
    Ok(deleted)
}
