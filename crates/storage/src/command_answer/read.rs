//! Finding the answer to a command.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use platform_core::id::CommandId;

use crate::schema::command_answers;
use crate::{Connection, StorageError};

/// What the command was answered, if it was carried out. Without a team: command ids are minted by the platform, never by a client.
pub async fn find(
    connection: &mut Connection,
    command: CommandId,
) -> Result<Option<Vec<u8>>, StorageError> {
    let answer = command_answers::table
        .find(command.uuid())
        .select(command_answers::answer)
        .first(connection)
        .await
        .optional()?;
    Ok(answer)
}
