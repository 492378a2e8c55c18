//! The link to the platform: dialled again whenever it breaks, to whichever replica answers. What the journal holds is sent until it is
//! acknowledged; previews only if there is a link at the moment.

mod backlog;
mod dial;
mod exchange;

use std::sync::Arc;
use std::time::Duration;

use platform_core::clock::Clock;
use platform_core::id::{SessionId, TurnId};
use platform_core::sandbox::{Epoch, StartupPhase};
use platform_messaging::proto::link::frame::Body;
use platform_messaging::proto::link::{Failed, Hello, Preview, Startup};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use self::backlog::Backlog;
use self::dial::Backoff;
use self::exchange::{Exchange, Over};
use super::command::Command;
use super::identity::{Identity, IdentityError};
use super::journal::Written;
use super::linked::LinkedFile;
use super::way_out::WayOut;

pub(super) use self::dial::Platform;

/// Frames that may wait for the link. Beyond this previews are dropped: their event replaces them anyway.
const WAITING: usize = 1024;

/// Without a link and without work for this long, the sandbox has been forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(10);

/// How long a sandbox that cannot go on tries to say so.
const FAREWELL: Duration = Duration::from_secs(5);

/// What each connection says first about where this sandbox stands.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    pub(super) session: Option<(SessionId, Epoch)>,
    pub(super) turn: Option<TurnId>,
    pub(super) harness_ready: bool,
    /// The phase reached last, said again on each new connection.
    startup: Option<Startup>,
    /// Set when the sandbox cannot go on.
    failed: Option<Failed>,
}

/// Why there will be no link any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkEnd {
    /// The sandbox's epoch is over: nothing more may be changed.
    Superseded,
    Stopped,
    /// The failure was told, or nobody could be told.
    Failed,
    Forgotten,
}

/// The near side of the link, for whoever has something to say.
#[derive(Clone)]
pub(super) struct Link {
    outgoing: mpsc::Sender<Body>,
    standing: watch::Sender<Standing>,
    /// The number of the last journal entry that is in the log.
    acknowledged: watch::Receiver<u64>,
    clock: Arc<dyn Clock>,
}

/// Who has the link, with whom, and what it is for besides its frames.
pub(super) struct Ends {
    pub(super) identity: Identity,
    pub(super) platform: Platform,
    pub(super) linked: LinkedFile,
    /// Where the room's connections go, which each welcome may change.
    pub(super) way_out: Option<WayOut>,
}

/// The task that keeps the link.
pub(super) struct LinkKeeper {
    ends: Ends,
    /// Which sandbox this is, where only the platform knows.
    admitted_as: String,
    outgoing: mpsc::Receiver<Body>,
    standing: watch::Receiver<Standing>,
    written: mpsc::Receiver<Vec<Written>>,
    commands: mpsc::Sender<Command>,
    backlog: Backlog,
}

/// A link that is not dialled yet, and the task that will: journal entries come by `written`.
pub(super) fn prepare(
    ends: Ends,
    written: mpsc::Receiver<Vec<Written>>,
    commands: mpsc::Sender<Command>,
    clock: Arc<dyn Clock>,
) -> (Link, LinkKeeper) {
    let (outgoing, waiting) = mpsc::channel(WAITING);
    let (standing, seen) = watch::channel(Standing::default());
    let backlog = Backlog::default();
    let acknowledged = backlog.acknowledged();
    let keeper = LinkKeeper {
        ends,
        admitted_as: String::new(),
        outgoing: waiting,
        standing: seen,
        written,
        commands,
        backlog,
    };
    (Link { outgoing, standing, acknowledged, clock }, keeper)
}

impl Link {
    /// Shows text in progress, if somebody can see it at the moment.
    pub(super) fn preview(&self, preview: Preview) {
        self.outgoing.try_send(Body::Preview(preview)).ok();
    }

    pub(super) async fn startup(&self, phase: StartupPhase, detail: &str) {
        let startup = Startup {
            phase: phase.as_word().to_owned(),
            detail: detail.to_owned(),
            at_unix_micros: self.clock.now().timestamp_micros(),
        };
        self.standing.send_modify(|standing| standing.startup = Some(startup.clone()));
        self.outgoing.send(Body::Startup(startup)).await.ok();
    }

    /// The turn that the platform is told to be under way.
    pub(super) fn turn(&self) -> Option<TurnId> {
        self.standing.borrow().turn
    }

    /// The number of the last journal entry that is in the log, as it rises.
    pub(super) fn acknowledged(&self) -> watch::Receiver<u64> {
        self.acknowledged.clone()
    }

    /// Waits until the journal is in the log up to and with entry `through`; without a platform that takes it, for as long as it lasts.
    pub(super) async fn until_acknowledged(&self, through: u64) {
        let mut acknowledged = self.acknowledged.clone();
        // The keeper ends only when nothing can be told any more.
        acknowledged.wait_for(|number| *number >= through).await.ok();
    }

    pub(super) fn stand(&self, change: impl FnOnce(&mut Standing)) {
        self.standing.send_modify(change);
    }

    /// Says that the sandbox cannot go on, once the journal is through. The keeper ends after that.
    pub(super) fn fail(&self, failed: Failed) {
        self.standing.send_modify(|standing| standing.failed = Some(failed));
    }
}

impl LinkKeeper {
    /// Keeps the link until there is a reason to end. Cancelling it at any point loses only what the journal will tell again.
    pub(super) async fn run(mut self) -> LinkEnd {
        let mut backoff = Backoff::default();
        let mut last_linked = Instant::now();
        loop {
            match self.connect().await {
                Some(Over::Ended(end)) => return end,
                Some(Over::Broken { was_linked: true }) => {
                    backoff = Backoff::default();
                    last_linked = Instant::now();
                }
                Some(Over::Broken { was_linked: false }) | None => {}
            }
            let alone = last_linked.elapsed();
            let standing = self.standing.borrow().clone();
            if standing.failed.is_some() && alone > FAREWELL {
                return LinkEnd::Failed;
            }
            let is_at_work = standing.turn.is_some() || !self.backlog.is_empty();
            if !is_at_work && alone > FORGOTTEN_AFTER {
                return LinkEnd::Forgotten;
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }

    /// One connection, from its beginning to its end. `None`: there was none.
    async fn connect(&mut self) -> Option<Over> {
        let hello = match self.hello() {
            Ok(hello) => hello,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "it cannot be said who this sandbox is");
                return None;
            }
        };
        let socket = self.ends.platform.dial().await?;
        let exchange = Exchange {
            hello,
            admitted_as: &mut self.admitted_as,
            linked: &self.ends.linked,
            way_out: self.ends.way_out.as_ref(),
            outgoing: &mut self.outgoing,
            standing: &mut self.standing,
            written: &mut self.written,
            commands: &self.commands,
            backlog: &mut self.backlog,
            is_parked: false,
        };
        let over = exchange.run(socket).await;
        self.ends.linked.remove();
        Some(over)
    }

    fn hello(&self) -> Result<Hello, IdentityError> {
        let standing = self.standing.borrow();
        let id = |uuid: uuid::Uuid| uuid.to_string();
        let (session, epoch) = standing.session.unzip();
        Ok(Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            session_id: session.map(|session| id(session.uuid())).unwrap_or_default(),
            epoch: epoch.map_or(0, |epoch| epoch.0),
            journal_through: self.backlog.written_through(),
            turn_id: standing.turn.map(|turn| id(turn.uuid())).unwrap_or_default(),
            harness_ready: standing.harness_ready,
            ..self.ends.identity.hello()?
        })
    }
}
