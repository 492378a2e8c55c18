//! The stack's database, for what the API cannot be asked and for peers.

use system_tests::House;
use tokio_postgres::{Client, NoTls};

/// A connection of its own. It ends with the client.
pub async fn connect(house: &House) -> anyhow::Result<Client> {
    let (client, connection) = tokio_postgres::connect(house.stack.database_url(), NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// A session's id as the database has it.
pub fn uuid_of(session: &str) -> anyhow::Result<uuid::Uuid> {
    Ok(uuid::Uuid::try_parse(session.rsplit('_').next().unwrap_or(session))?)
}
