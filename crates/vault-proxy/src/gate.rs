//! Where pods come for their way out: one TCP address, at which a connection first shows the ticket of its sandbox.

mod crowd;

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use nix::sys::socket::{setsockopt, sockopt};
use platform_core::sandbox::{Sandbox, SandboxState};
use platform_storage::{Database, StorageError, sandbox};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::crowd::Crowd;
use crate::doors::{Doors, HandInError};

/// What a connection begins with; the ticket follows.
pub const GREETING: [u8; 4] = *b"LAP1";
pub const TICKET_BYTES: usize = 32;

/// How long a connection may take to show its ticket.
const SHOWN_WITHIN: Duration = Duration::from_secs(5);
/// Connections that have not been let in, of all pods. Further ones wait to be taken.
const MOST_WAITING: usize = 4096;
/// Of one address. Whoever has more is nobody who shows a ticket at once.
const MOST_WAITING_OF_ONE: usize = 256;
/// How long whoever showed no valid ticket keeps its place, so that one pod cannot keep the database busy.
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_millis(500);
/// How often it is looked whose sandboxes are over: another replica may have been told.
const LOOK_PERIOD: Duration = Duration::from_secs(30);
const BACKLOG: u32 = 1024;
const RETRY: Duration = Duration::from_millis(200);

/// A connection whose pod is gone is noticed after a minute.
const SILENT_SECONDS: u32 = 30;
const PROBE_SECONDS: u32 = 10;
const PROBES: u32 = 3;

/// The listening address, and the doors behind it. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    shared: Arc<Shared>,
    shown_within: Duration,
}

struct Shared {
    listener: TcpListener,
    doors: Doors,
    database: Database,
    crowd: Crowd,
}

/// Why a connection was not let in.
#[derive(Debug, thiserror::Error)]
enum RefusedEntry {
    #[error("no ticket was shown in time")]
    Silent,
    #[error("the connection broke")]
    Broken(#[from] io::Error),
    #[error("it does not begin with a ticket")]
    NoTicket,
    #[error("the ticket is nobody's, or of a sandbox that is over")]
    Invalid,
    #[error("tickets cannot be looked up now")]
    Storage(#[from] StorageError),
    #[error(transparent)]
    HandIn(#[from] HandInError),
}

impl Gate {
    pub fn listen(address: SocketAddr, doors: Doors, database: Database) -> io::Result<Self> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        // The successor listens before this one ends.
        socket.set_reuseport(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let crowd = Crowd::new(MOST_WAITING_OF_ONE);
        let shared = Arc::new(Shared { listener, doors, database, crowd });
        Ok(Self { shared, shown_within: SHOWN_WITHIN })
    }

    /// How long a connection may take to show its ticket.
    #[must_use]
    pub fn with_patience(self, shown_within: Duration) -> Self {
        Self { shown_within, ..self }
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        self.shared.listener.local_addr()
    }

    /// Lets connections in until `closing`. What has not shown its ticket by then is dropped; what was let in is for its door to finish.
    pub async fn keep(self, closing: CancellationToken) {
        let entering = TaskTracker::new();
        let places = Arc::new(Semaphore::new(MOST_WAITING));
        let looking = closing.run_until_cancelled(self.look_who_is_over());
        let letting_in = closing.run_until_cancelled(self.let_in(&places, &entering, &closing));
        tokio::join!(looking, letting_in);
        entering.close();
        entering.wait().await;
    }

    async fn let_in(
        &self,
        places: &Arc<Semaphore>,
        entering: &TaskTracker,
        closing: &CancellationToken,
    ) {
        while let Ok(place) = places.clone().acquire_owned().await {
            match self.shared.listener.accept().await {
                Ok((connection, peer)) => {
                    let entry = self.clone().enter(connection, peer, place);
                    let closing = closing.clone();
                    entering.spawn(async move {
                        closing.run_until_cancelled_owned(entry).await;
                    });
                }
                Err(error) => {
                    // Out of file descriptors, most likely: a pause instead of a hot loop.
                    tracing::warn!(%error, "a connection at the gate could not be accepted");
                    sleep(RETRY).await;
                }
            }
        }
    }

    async fn enter(self, connection: TcpStream, peer: SocketAddr, _place: OwnedSemaphorePermit) {
        let Some(_waiting) = self.shared.crowd.join(peer.ip()) else {
            tracing::debug!(%peer, "too many connections of one address wait at the gate");
            return;
        };
        let Err(refused) = self.admit(connection).await else { return };
        tracing::debug!(%peer, error = &refused as &dyn Error, "a connection was not let in");
        match refused {
            RefusedEntry::NoTicket | RefusedEntry::Invalid => sleep(PAUSE_AFTER_REFUSAL).await,
            RefusedEntry::Silent
            | RefusedEntry::Broken(_)
            | RefusedEntry::Storage(_)
            | RefusedEntry::HandIn(_) => {}
        }
    }

    /// The connection is dropped, and with that closed, when it is refused.
    async fn admit(&self, mut connection: TcpStream) -> Result<(), RefusedEntry> {
        prepare(&connection)?;
        let shown = timeout(self.shown_within, read_ticket(&mut connection)).await;
        let ticket = shown.map_err(|_elapsed| RefusedEntry::Silent)??;
        let owner = self.owner_of(&ticket).await?.ok_or(RefusedEntry::Invalid)?;
        let trusted = owner.detail.get("egress_authority").and_then(|pem| pem.as_str());
        Ok(self.shared.doors.hand_in(owner.id, trusted, connection)?)
    }

    async fn owner_of(&self, ticket: &[u8; TICKET_BYTES]) -> Result<Option<Sandbox>, StorageError> {
        let mut connection = self.shared.database.connection().await?;
        sandbox::find_by_egress_ticket(&mut connection, digest(&SHA256, ticket).as_ref()).await
    }

    /// Closes the doors of sandboxes that are over, and cuts what is under way there.
    async fn look_who_is_over(&self) {
        let mut looks = interval(LOOK_PERIOD);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            if let Err(error) = self.close_what_is_over().await {
                let error = &error as &dyn Error;
                tracing::warn!(error, "it cannot be looked up which sandboxes are over");
            }
        }
    }

    /// One look at all doors behind the gate.
    pub async fn close_what_is_over(&self) -> Result<(), StorageError> {
        let sandboxes = self.shared.doors.behind_the_gate();
        if sandboxes.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = sandboxes.iter().map(|sandbox| sandbox.uuid()).collect();
        let states = {
            let mut connection = self.shared.database.connection().await?;
            sandbox::find_states(&mut connection, &ids).await?
        };
        for sandbox in sandboxes {
            if states.get(&sandbox).is_none_or(|state| is_over(*state)) {
                self.shared.doors.close(sandbox);
            }
        }
        Ok(())
    }
}

/// Whether nothing of a sandbox may leave any more.
fn is_over(state: SandboxState) -> bool {
    match state {
        SandboxState::Stopping | SandboxState::Gone => true,
        SandboxState::Queued
        | SandboxState::Starting
        | SandboxState::Warm
        | SandboxState::Claimed
        | SandboxState::Ready => false,
    }
}

fn prepare(connection: &TcpStream) -> io::Result<()> {
    // Each token is a small write of its own.
    connection.set_nodelay(true)?;
    setsockopt(connection, sockopt::KeepAlive, &true)?;
    setsockopt(connection, sockopt::TcpKeepIdle, &SILENT_SECONDS)?;
    setsockopt(connection, sockopt::TcpKeepInterval, &PROBE_SECONDS)?;
    setsockopt(connection, sockopt::TcpKeepCount, &PROBES)?;
    Ok(())
}

async fn read_ticket(connection: &mut TcpStream) -> Result<[u8; TICKET_BYTES], RefusedEntry> {
    // The greeting alone first, so that whatever else comes here is told apart at once.
    let mut greeting = [0; GREETING.len()];
    connection.read_exact(&mut greeting).await?;
    if greeting != GREETING {
        return Err(RefusedEntry::NoTicket);
    }
    let mut ticket = [0; TICKET_BYTES];
    connection.read_exact(&mut ticket).await?;
    Ok(ticket)
}
