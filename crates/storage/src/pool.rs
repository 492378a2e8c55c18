//! The pool of connections, and transactions on it.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{PoolError, TimeoutType};
use diesel_async::pooled_connection::deadpool::{Object, Pool};
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, PoolError as EstablishError, RecyclingMethod,
};
use diesel_async::{AnsiTransactionManager, SimpleAsyncConnection, TransactionManager};

use crate::{Connection, StorageError};

/// How long a caller waits for a free connection, or for a new one to come up.
const PATIENCE: Duration = Duration::from_secs(5);

/// One database with its pool. Clones share the pool.
#[derive(Clone)]
pub struct Database {
    pool: Pool<Connection>,
}

/// A connection that goes back to its pool when it is dropped.
pub struct PooledConnection(Object<Connection>);

impl Database {
    /// Makes the pool; connections open when they are needed, so this succeeds while PostgreSQL is still down.
    ///
    /// Each connection is driven by the runtime on which it was first used: use the pool from the main runtime only.
    pub fn connect(url: &str, pool_size: usize) -> Result<Self, StorageError> {
        let mut config = ManagerConfig::default();
        // A closed connection is noticed without a query, so that nothing has to be asked at each checkout.
        config.recycling_method = RecyclingMethod::Fast;
        let manager = AsyncDieselConnectionManager::<Connection>::new_with_config(url, config);
        let pool = Pool::builder(manager)
            .max_size(pool_size)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(PATIENCE))
            .create_timeout(Some(PATIENCE))
            .recycle_timeout(Some(PATIENCE))
            .build()
            .map_err(|error| StorageError::Unavailable(Box::new(error)))?;
        Ok(Self { pool })
    }

    /// A connection for single statements, each of which commits by itself.
    pub async fn connection(&self) -> Result<PooledConnection, StorageError> {
        self.pool.get().await.map(PooledConnection).map_err(describe)
    }

    /// Runs `work` in one transaction: all of it is stored, or, when it fails or is dropped half-way, nothing.
    ///
    /// Read committed; whoever needs more takes row locks.
    pub async fn transaction<T, E>(
        &self,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, E>,
    ) -> Result<T, E>
    where
        E: From<StorageError>,
    {
        let mut open = OpenTransaction(Some(self.connection().await?));
        let connection = open.connection()?;
        begin(connection).await?;
        match work(connection).await {
            Ok(value) => {
                commit(connection).await?;
                open.close();
                Ok(value)
            }
            Err(error) => {
                // When even the rollback fails the connection is thrown away, and PostgreSQL rolls back.
                if AnsiTransactionManager::rollback_transaction(connection).await.is_ok() {
                    open.close();
                }
                Err(error)
            }
        }
    }

    /// Whether PostgreSQL answers.
    pub async fn ping(&self) -> Result<(), StorageError> {
        Ok(self.connection().await?.batch_execute("select 1").await?)
    }
}

impl PooledConnection {
    /// Takes the connection out of the pool, which makes another one when it needs to. It ends when it is dropped.
    pub(crate) fn into_own(self) -> Connection {
        Object::take(self.0)
    }
}

impl Deref for PooledConnection {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

impl DerefMut for PooledConnection {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.0
    }
}

/// Throws its connection away unless the transaction was closed. Without it a dropped caller's connection would lie in the pool with
/// its row locks still held.
struct OpenTransaction(Option<PooledConnection>);

impl OpenTransaction {
    fn connection(&mut self) -> Result<&mut Connection, StorageError> {
        self.0.as_deref_mut().ok_or(StorageError::NoFreeConnection)
    }

    fn close(mut self) {
        drop(self.0.take());
    }
}

impl Drop for OpenTransaction {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(Object::take(connection.0));
        }
    }
}

async fn begin(connection: &mut Connection) -> Result<(), StorageError> {
    Ok(AnsiTransactionManager::begin_transaction(connection).await?)
}

async fn commit(connection: &mut Connection) -> Result<(), StorageError> {
    Ok(AnsiTransactionManager::commit_transaction(connection).await?)
}

fn describe(error: PoolError<EstablishError>) -> StorageError {
    match error {
        PoolError::Timeout(TimeoutType::Wait) => StorageError::NoFreeConnection,
        PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle)
        | PoolError::Backend(_)
        | PoolError::Closed
        | PoolError::NoRuntimeSpecified
        | PoolError::PostCreateHook(_) => StorageError::Unavailable(Box::new(error)),
    }
}

#[cfg(test)]
mod tests;
