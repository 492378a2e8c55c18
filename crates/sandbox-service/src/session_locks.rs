//! One command of a session at a time, whichever replica has it: in this process by a mutex, among processes by PostgreSQL.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use platform_core::id::SessionId;
use platform_storage::{Database, StorageError, sandbox as rows};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How often the connection that holds the locks is seen to. PostgreSQL ends it when nothing comes for
/// [`rows::SessionLocks::IDLE_AT_MOST`].
pub const CHECK_PERIOD: Duration = Duration::from_secs(1);
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("another replica carries out a command of the session")]
    Busy,
    #[error("the locks on sessions were lost meanwhile")]
    Lost,
    #[error("the lock on the session was not answered")]
    Unanswered,
    #[error("the session cannot be locked")]
    Storage(#[from] StorageError),
}

/// The locks of this replica.
#[derive(Default)]
pub struct SessionLocks {
    here: std::sync::Mutex<HashMap<SessionId, Weak<Mutex<()>>>>,
    held: Mutex<Option<Held>>,
    /// A lock was not given back, so the connection cannot be used on.
    is_tainted: AtomicBool,
}

/// The connection that holds all of them.
struct Held {
    locks: rows::SessionLocks,
    lost: CancellationToken,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.lost.cancel();
    }
}

impl SessionLocks {
    /// Does `work` while nobody else does anything with the session. Waits for others in this process; gives up when it is another
    /// replica. Should the lock be lost meanwhile, the work is dropped where it stands.
    pub async fn hold<T, E: From<LockError>>(
        &self,
        database: &Database,
        session: SessionId,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let _one_at_a_time = self.find(session).lock_owned().await;
        let lost = self.lock(database, session).await?;
        let panicking = Taint(&self.is_tainted);
        let outcome = tokio::select! {
            outcome = work => outcome,
            () = lost.cancelled() => Err(LockError::Lost.into()),
        };
        std::mem::forget(panicking);
        self.unlock(session, &lost).await;
        outcome
    }

    /// Notices when the connection is lost: see [`SessionLocks::hold`].
    pub async fn check(&self) {
        let mut held = self.held.lock().await;
        let Some(connection) = held.as_mut() else { return };
        if !matches!(timeout(ANSWERED_WITHIN, connection.locks.check()).await, Ok(Ok(()))) {
            tracing::warn!("the locks on sessions were lost; their commands are begun again");
            *held = None;
        }
    }

    /// Answers what is cancelled when the lock is lost.
    async fn lock(
        &self,
        database: &Database,
        session: SessionId,
    ) -> Result<CancellationToken, LockError> {
        let mut held = self.held.lock().await;
        if self.is_tainted.swap(false, Ordering::AcqRel) {
            *held = None;
        }
        let connection = if let Some(connection) = held.as_mut() {
            connection
        } else {
            let locks = rows::SessionLocks::open(database).await?;
            held.insert(Held { locks, lost: CancellationToken::new() })
        };
        let locked = match timeout(ANSWERED_WITHIN, connection.locks.try_lock(session)).await {
            Ok(Ok(true)) => return Ok(connection.lost.clone()),
            Ok(Ok(false)) => return Err(LockError::Busy),
            Ok(Err(error)) => Err(LockError::Storage(error)),
            Err(_elapsed) => Err(LockError::Unanswered),
        };
        *held = None;
        locked
    }

    async fn unlock(&self, session: SessionId, lost: &CancellationToken) {
        let mut held = self.held.lock().await;
        let Some(connection) = held.as_mut().filter(|_| !lost.is_cancelled()) else { return };
        if !matches!(timeout(ANSWERED_WITHIN, connection.locks.unlock(session)).await, Ok(Ok(()))) {
            *held = None;
        }
    }

    fn find(&self, session: SessionId) -> Arc<Mutex<()>> {
        let mut locks = self.here.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(&session).and_then(Weak::upgrade) {
            return lock;
        }
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::default();
        locks.insert(session, Arc::downgrade(&lock));
        lock
    }
}

/// Dropped only by a panic, or with the whole command.
struct Taint<'a>(&'a AtomicBool);

impl Drop for Taint<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
