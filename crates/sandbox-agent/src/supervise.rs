//! The trusted role: holds the link, the token and the journal where the harness cannot reach them.

mod acp;
mod command;
mod failure;
mod harness;
mod identity;
mod journal;
mod link;
mod linked;
mod policy;
mod room;
mod session;
mod tools;
mod translate;
mod way_out;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal as signals};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::failure::Failure;
use self::harness::Places;
use self::identity::{Identity, IdentityError, Papers};
use self::journal::Place;
use self::link::{Link, LinkEnd, Platform};
use self::linked::LinkedFile;
use self::room::{Room, RoomError};
use self::session::Supervision;
use self::tools::Tools;
use self::way_out::{WayOut, WayOutError};
use crate::clock::{SystemClock, SystemIds};

/// Commands that may wait; the platform gives few.
const WAITING_COMMANDS: usize = 64;

/// How long the harness may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(2);

/// How long the last frames may take to leave.
const FAREWELL: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub(crate) struct Settings {
    #[command(flatten)]
    papers: Papers,
    #[command(flatten)]
    platform: Platform,
    /// A file that is there as long as the link is.
    #[arg(long)]
    linked_file: Option<PathBuf>,
    #[command(flatten)]
    way_out: way_out::Openings,
    /// The socket to open for the harness's room.
    #[arg(long)]
    room: PathBuf,
    /// The folder of the journals.
    #[arg(long)]
    journal: PathBuf,
    #[command(flatten)]
    places: Places,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SuperviseError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("signals cannot be received")]
    Signals(#[source] io::Error),
    #[error(transparent)]
    Room(#[from] RoomError),
    #[error(transparent)]
    WayOut(#[from] WayOutError),
    #[error("the sandbox cannot go on: {0}")]
    Failed(String),
    #[error("no link for too long, and nothing to do")]
    Forgotten,
}

/// Runs until the platform, a signal or a failure ends the sandbox.
pub(crate) async fn run(settings: Settings) -> Result<(), SuperviseError> {
    let identity = Identity::read(&settings.papers)?;
    let way_out = WayOut::open(settings.way_out)?;
    let mut terminate = signals(SignalKind::terminate()).map_err(SuperviseError::Signals)?;
    let mut interrupt = signals(SignalKind::interrupt()).map_err(SuperviseError::Signals)?;

    let (written, waiting) = mpsc::channel(1);
    let (commands, ordered) = mpsc::channel(WAITING_COMMANDS);
    let clock = Arc::new(SystemClock);
    let ends = link::Ends {
        identity,
        platform: settings.platform,
        linked: LinkedFile::new(settings.linked_file),
        way_out,
    };
    let (link, keeper) = link::prepare(ends, waiting, commands, clock);
    let mut keeper = tokio::spawn(keeper.run());

    let room = tokio::select! {
        room = Room::accept(&settings.room, settings.papers.are_a_pod_s()) => room?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    let supervision = Supervision {
        first_journals: Place::of(&settings.journal).ok(),
        places: settings.places,
        journals: settings.journal,
        room: room.clone(),
        tools: Tools::serve(&room),
        link: link.clone(),
        commands: ordered,
        deferred: Vec::new(),
        written,
        ids: Arc::new(SystemIds),
    };
    let mut signal = Signal::SIGTERM;
    let outcome = tokio::select! {
        ended = &mut keeper => {
            if matches!(ended, Ok(LinkEnd::Superseded)) {
                // Another sandbox has the workspace, so that nothing may be written to it any more, by whatever the agent started.
                signal = Signal::SIGKILL;
            }
            link_ended(ended)
        }
        failed = Box::pin(supervision.run()) => say_farewell(&failed, &link, keeper).await,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    room.end_everything(signal, GRACE).await;
    outcome
}

fn link_ended(ended: Result<LinkEnd, tokio::task::JoinError>) -> Result<(), SuperviseError> {
    match ended {
        Ok(LinkEnd::Superseded) => {
            tracing::info!("this sandbox's epoch is over");
            Ok(())
        }
        Ok(LinkEnd::Stopped) => Ok(()),
        Ok(LinkEnd::Failed) => Err(SuperviseError::Failed("see the log".to_owned())),
        Ok(LinkEnd::Forgotten) => Err(SuperviseError::Forgotten),
        Err(error) => Err(SuperviseError::Failed(error.to_string())),
    }
}

/// Tells the platform why, after everything that the journal still holds.
async fn say_farewell(
    failure: &Failure,
    link: &Link,
    keeper: JoinHandle<LinkEnd>,
) -> Result<(), SuperviseError> {
    let failed = failure::frame(failure);
    let message = failed.message.clone();
    link.fail(failed);
    timeout(FAREWELL, keeper).await.ok();
    Err(SuperviseError::Failed(message))
}
