//! Who may act on a session's sandboxes, or on a machine's queue: locks that PostgreSQL gives back when their holder is gone.

use std::time::Duration;

use diesel::sql_types::{Integer, Text};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use platform_core::id::SessionId;

use crate::{Connection, Database, StorageError};

/// Tells these locks from those on other things.
const OF_SESSIONS: i32 = 0x7361;
const OF_HOSTS: i32 = 0x7368;

diesel::define_sql_function! { fn pg_try_advisory_lock(class: Integer, key: Integer) -> Bool; }
diesel::define_sql_function! { fn pg_advisory_unlock(class: Integer, key: Integer) -> Bool; }
diesel::define_sql_function! { fn pg_advisory_xact_lock(class: Integer, key: Integer); }
diesel::define_sql_function! { fn hashtext(text: Text) -> Integer; }

/// A connection of its own that holds one replica's locks on sessions. They end with it.
pub struct SessionLocks(Connection);

impl SessionLocks {
    /// When nothing comes for this long its replica is frozen or cut off, and others get the locks.
    pub const IDLE_AT_MOST: Duration = Duration::from_secs(10);

    /// Takes a connection out of the pool for good.
    pub async fn open(database: &Database) -> Result<Self, StorageError> {
        let mut connection = database.connection().await?.into_own();
        let milliseconds = Self::IDLE_AT_MOST.as_millis();
        connection.batch_execute(&format!("set idle_session_timeout = {milliseconds}")).await?;
        Ok(Self(connection))
    }

    /// Locks the session, if nobody else has. May be repeated; each success needs one [`SessionLocks::unlock`].
    pub async fn try_lock(&mut self, session: SessionId) -> Result<bool, StorageError> {
        let lock = diesel::select(pg_try_advisory_lock(OF_SESSIONS, key(session)));
        Ok(lock.get_result(&mut self.0).await?)
    }

    pub async fn unlock(&mut self, session: SessionId) -> Result<(), StorageError> {
        let unlock = diesel::select(pg_advisory_unlock(OF_SESSIONS, key(session)));
        let _was_locked: bool = unlock.get_result(&mut self.0).await?;
        Ok(())
    }

    /// Whether the connection, and with it every lock, is still there.
    pub async fn check(&mut self) -> Result<(), StorageError> {
        Ok(self.0.batch_execute("select 1").await?)
    }
}

/// Until the end of the transaction nobody else decides what starts on this machine. Waits for whoever does now.
pub async fn lock_host(connection: &mut Connection, host: &str) -> Result<(), StorageError> {
    diesel::select(pg_advisory_xact_lock(OF_HOSTS, hashtext(host))).execute(connection).await?;
    Ok(())
}

/// The random end of the id. Should two sessions share it, one of them waits for the other now and then.
fn key(session: SessionId) -> i32 {
    let [.., a, b, c, d] = *session.uuid().as_bytes();
    i32::from_be_bytes([a, b, c, d])
}
