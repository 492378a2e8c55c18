//! RabbitMQ as the services use it: one connection per process that heals itself.

pub(crate) mod connection;
pub(crate) mod consumer;
pub(crate) mod declaration;
pub(crate) mod failure;
pub(crate) mod outgoing;
pub(crate) mod own_queue;
pub(crate) mod publisher;
pub(crate) mod request;
mod supervisor;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use connection::LiveConnection;
use failure::BrokerError;
use supervisor::{State, Supervisor};

/// How long one attempt to reach the broker may take, whatever happens.
const ATTEMPT: Duration = Duration::from_secs(3);
/// How much of an attempt may be spent waiting for a lost connection to come back.
const RECONNECT_PATIENCE: Duration = Duration::from_secs(1);
/// How long the first connection may take before the process goes on without one.
const FIRST_CONNECTION: Duration = Duration::from_secs(5);

/// The process's connection to RabbitMQ. Cheap to clone; ends with its last clone.
///
/// A lost connection is made again, with growing pauses, for as long as the process lives; consumers and own queues follow by
/// themselves. Meanwhile every publish and request fails as unavailable within seconds.
#[derive(Clone)]
pub struct Broker {
    shared: Arc<Shared>,
}

struct Shared {
    state: watch::Receiver<State>,
    wants_topology: Arc<AtomicBool>,
    closing: CancellationToken,
    /// Ends the supervisor when the last clone is dropped.
    _end: DropGuard,
}

impl Broker {
    /// Starts to connect and waits for the outcome of the first attempt, good or bad: a service starts without its broker, and
    /// says so in its readiness. Fails only when `url` is no AMQP address. `name` is shown in RabbitMQ's management.
    pub async fn connect(url: &SecretString, name: &str) -> Result<Self, BrokerError> {
        let wants_topology = Arc::new(AtomicBool::new(false));
        let closing = CancellationToken::new();
        let supervisor = Supervisor::new(url, name, wants_topology.clone(), closing.clone())?;
        let mut state = supervisor.start();
        let first = state.wait_for(|state| !matches!(state, State::Connecting));
        drop(tokio::time::timeout(FIRST_CONNECTION, first).await);
        let end = closing.clone().drop_guard();
        Ok(Self { shared: Arc::new(Shared { state, wants_topology, closing, _end: end }) })
    }

    /// Declares every exchange and queue, now and after each reconnect. Without a connection it is done as soon as there is one.
    pub async fn declare_topology(&self) -> Result<(), BrokerError> {
        self.shared.wants_topology.store(true, Ordering::Release);
        match self.live().await {
            Ok(live) => declaration::declare(&live.channel().await?).await,
            Err(_not_connected) => Ok(()),
        }
    }

    pub fn is_connected(&self) -> bool {
        matches!(*self.shared.state.borrow(), State::Live(_))
    }

    /// Why there is no connection, for the readiness check.
    pub fn check(&self) -> Result<(), BrokerError> {
        match &*self.shared.state.borrow() {
            State::Live(_) => Ok(()),
            State::Connecting => Err(BrokerError::Unavailable { reason: "connecting".to_owned() }),
            State::Lost { reason } => Err(BrokerError::Unavailable { reason: reason.clone() }),
        }
    }

    /// Closes the connection. Consumers end, and every later call fails as unavailable.
    pub async fn close(&self) {
        self.shared.closing.cancel();
        let mut state = self.shared.state.clone();
        while state.changed().await.is_ok() {}
    }

    /// The connection, after a short wait if it is just being made again.
    async fn live(&self) -> Result<Arc<LiveConnection>, BrokerError> {
        let mut state = self.shared.state.clone();
        let live = state.wait_for(|state| matches!(state, State::Live(_)));
        match tokio::time::timeout(RECONNECT_PATIENCE, live).await {
            Ok(Ok(state)) => state.live().ok_or_else(BrokerError::closed),
            Ok(Err(_ended)) => Err(BrokerError::closed()),
            Err(_elapsed) => Err(self.check().err().unwrap_or_else(BrokerError::closed)),
        }
    }

    /// The first connection made after number `generation`; `None` once the broker was closed.
    async fn live_after(&self, generation: u64) -> Option<Arc<LiveConnection>> {
        let mut state = self.shared.state.clone();
        let newer = |state: &State| state.live().is_some_and(|live| live.generation > generation);
        state.wait_for(newer).await.ok()?.live()
    }
}
