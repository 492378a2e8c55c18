//! The life of one sandbox: perhaps warm for a while, then one session, turn after turn.

mod hydrate;
mod prompt;
mod reminder;
mod turn;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use platform_core::clock::IdSource;
use platform_core::id::{EventId, Id, SessionId, TurnId};
use platform_core::journal::Entry;
use platform_core::sandbox::{Epoch, StartupPhase, TranscriptItem};
use platform_core::session::EventBody;
use platform_core::turn::StopReason;
use tokio::sync::mpsc;

use self::hydrate::Warm;
use super::acp::Message;
use super::command::{Command, Hydration, TurnOrder};
use super::failure::Failure;
use super::harness::{Harness, Launch, Places};
use super::journal::{Journal, Place, Written};
use super::link::Link;
use super::room::Room;
use super::tools::Tools;

pub(super) use self::prompt::as_block;

/// Everything that a sandbox's life needs from outside.
pub(super) struct Supervision {
    pub(super) places: Places,
    pub(super) journals: PathBuf,
    /// The folder of journals with which the sandbox was started.
    pub(super) first_journals: Option<Place>,
    pub(super) room: Room,
    pub(super) tools: Tools,
    pub(super) link: Link,
    pub(super) commands: mpsc::Receiver<Command>,
    /// Commands that came while something else was under way.
    pub(super) deferred: Vec<Command>,
    pub(super) written: mpsc::Sender<Vec<Written>>,
    pub(super) ids: Arc<dyn IdSource>,
}

/// The session, once there is one.
struct Session {
    id: SessionId,
    epoch: Epoch,
    launch: Launch,
    journal: Journal,
    /// `None` after it ended while nothing was under way; the next turn takes it up again.
    harness: Option<Harness>,
    /// The harness's own name for the session.
    name: String,
    /// What was said before, for a harness that has forgotten it; given once.
    history: Vec<TranscriptItem>,
    /// The last prompt that the harness had before this sandbox, if it remembers.
    last_prompt: Option<String>,
    /// Turns that earlier sandboxes started, if their journals are still there.
    started_before: Option<HashSet<TurnId>>,
    ended: HashSet<TurnId>,
    /// Turns whose interrupt came before they did.
    interrupted: HashSet<TurnId>,
}

impl Supervision {
    /// Runs until the sandbox cannot go on. Ended from outside it may be dropped at any point.
    pub(super) async fn run(mut self) -> Failure {
        match Box::pin(self.live()).await {
            Ok(never) => match never {},
            Err(failure) => failure,
        }
    }

    async fn live(&mut self) -> Result<std::convert::Infallible, Failure> {
        let (hydration, warm) = Box::pin(self.wait_for_session()).await?;
        let mut session = Box::pin(self.hydrate(hydration, warm)).await?;
        loop {
            match self.next_command(session.harness.as_mut()).await {
                Some(Command::StartTurn(order)) => {
                    Box::pin(self.start_turn(&mut session, order)).await?;
                }
                Some(Command::Hydrate(again)) => self.hydrated_again(&session, &again).await,
                Some(Command::InterruptTurn(turn)) => {
                    session.interrupted.insert(turn);
                }
                Some(Command::Prepare(_) | Command::Answer(_)) => {}
                None => {
                    tracing::warn!("the harness ended while it had nothing to do");
                    session.harness = None;
                }
            }
        }
    }

    /// The time before the session is known. A warm harness waits with it.
    async fn wait_for_session(&mut self) -> Result<(Hydration, Option<Warm>), Failure> {
        let mut warm: Option<Warm> = None;
        loop {
            match self.next_command(warm.as_mut().map(|warm| &mut warm.harness)).await {
                Some(Command::Hydrate(hydration)) => return Ok((*hydration, warm)),
                Some(Command::Prepare(preparation)) => {
                    if warm.is_none() {
                        warm = self.prepare(*preparation).await?;
                    }
                    self.link.stand(|standing| standing.harness_ready = true);
                    self.link.startup(StartupPhase::Ready, "").await;
                }
                Some(Command::StartTurn(_) | Command::InterruptTurn(_) | Command::Answer(_)) => {
                    tracing::warn!("a turn without a session was ignored");
                }
                // Hydrate will start another one.
                None => warm = None,
            }
        }
    }

    /// The next thing to do; `None` when the harness ended meanwhile. What else it says between turns is of no interest.
    async fn next_command(&mut self, harness: Option<&mut Harness>) -> Option<Command> {
        if !self.deferred.is_empty() {
            return Some(self.deferred.remove(0));
        }
        let end = async {
            let Some(harness) = harness else { return std::future::pending().await };
            loop {
                match harness.connection.next().await {
                    Message::Ended(_) => break,
                    Message::Request { id, method, .. } => {
                        harness.connection.refuse(&id, &method).await.ok();
                    }
                    Message::Update(_) | Message::Response { .. } | Message::Broken => {}
                }
            }
        };
        let mut end = std::pin::pin!(end);
        loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => return Some(command),
                    // The link has ended for good, and with it soon this task.
                    None => std::future::pending().await,
                },
                // Without a turn there is nobody to carry it out.
                call = self.tools.next() => drop(call),
                () = &mut end => return None,
            }
        }
    }

    /// The platform was not sure that it had told us. If it means another session, something is very wrong, and nothing is done.
    async fn hydrated_again(&self, session: &Session, again: &Hydration) {
        if (session.id, session.epoch) == (again.session_id, again.epoch) {
            self.link.startup(StartupPhase::Ready, "").await;
        } else {
            tracing::error!(session.id = %again.session_id, "a second session was refused");
        }
    }

    /// Carries out a turn, unless it is one that has ended already.
    async fn start_turn(&mut self, session: &mut Session, order: TurnOrder) -> Result<(), Failure> {
        let turn = order.turn_id;
        if session.ended.contains(&turn) {
            return Ok(());
        }
        self.link.stand(|standing| standing.turn = Some(turn));
        let outcome = self.carry_out(session, order).await;
        self.link.stand(|standing| standing.turn = None);
        outcome
    }

    async fn carry_out(&mut self, session: &mut Session, order: TurnOrder) -> Result<(), Failure> {
        let turn = order.turn_id;
        if self.was_interrupted(session, turn) {
            return session.end_turn(turn, StopReason::Interrupted, None).await;
        }
        if session.harness.is_none() {
            self.restart(session).await?;
            if session.ended.contains(&turn) {
                return Ok(());
            }
        }
        self.turn(session, order).await
    }

    /// Whether the turn was interrupted while it waited for the one before, or before it came: the two travel side by side.
    fn was_interrupted(&mut self, session: &mut Session, turn: TurnId) -> bool {
        let is_interrupt =
            |command: &Command| matches!(command, Command::InterruptTurn(id) if *id == turn);
        let known = self.deferred.len();
        self.deferred.retain(|command| !is_interrupt(command));
        session.interrupted.remove(&turn) || self.deferred.len() < known
    }

    /// Starts the harness anew in the same sandbox. If it does not find its session again, the sandbox is given up: the next one is
    /// told the whole story. A turn that is interrupted meanwhile ends at once.
    async fn restart(&mut self, session: &mut Session) -> Result<(), Failure> {
        let (room, places) = (self.room.clone(), self.places.clone());
        let (launch, name) = (session.launch.clone(), session.name.clone());
        let mut taken_up = std::pin::pin!(Harness::take_up(&launch, &name, &room, &places));
        loop {
            tokio::select! {
                harness = &mut taken_up => {
                    session.harness = Some(harness.map_err(Failure::Restart)?);
                    return Ok(());
                }
                command = self.commands.recv() => match command {
                    Some(Command::InterruptTurn(turn)) => {
                        let is_known = self.link.turn() == Some(turn);
                        let waits = |command: &Command| {
                            matches!(command, Command::StartTurn(order) if order.turn_id == turn)
                        };
                        if is_known || self.deferred.iter().any(waits) {
                            session.end_turn(turn, StopReason::Interrupted, None).await?;
                        }
                    }
                    Some(Command::Hydrate(again)) => self.hydrated_again(session, &again).await,
                    Some(Command::Prepare(_) | Command::Answer(_)) => {}
                    Some(later @ Command::StartTurn(_)) => self.deferred.push(later),
                    // The link has ended for good, and with it soon this task.
                    None => std::future::pending().await,
                },
            }
        }
    }
}

impl Session {
    async fn event(
        &self,
        ids: &dyn IdSource,
        turn_id: Option<TurnId>,
        body: EventBody,
    ) -> Result<EventId, Failure> {
        let id = Id::mint(ids);
        self.journal.append(&Entry::Event { turn_id, id, body }).await?;
        Ok(id)
    }
}
