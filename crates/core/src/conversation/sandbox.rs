//! Sandboxes that come, go and are asked for.

use chrono::{DateTime, Utc};

use crate::id::{EventId, SandboxId, TurnId};
use crate::sandbox::{Epoch, JournalMark, Startup, StartupPhase};
use crate::session::{ContentBlock, ModelUsage};
use crate::turn::MAX_RETAKES;

use super::{
    Conversation, EventBody, Moment, Outgoing, Refusal, SessionStatus, StopReason, StopWhy, Turn,
    TurnState,
};

/// How often the start of a sandbox is tried before the session hears that it failed.
pub const MAX_STARTS: u32 = 3;

const CALL_LOST: &str =
    "the sandbox was lost before this call ended; how much of it was done is not known";

/// A sandbox came one step further on its way up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhaseReport {
    pub epoch: Epoch,
    /// `None` while it waits for room.
    pub sandbox: Option<SandboxId>,
    pub phase: StartupPhase,
    /// One line for a person.
    pub detail: String,
    /// `warm` or `cold`, once known.
    pub spawn_mode: Option<String>,
    pub reached_at: DateTime<Utc>,
}

/// A sandbox is gone, or could not be brought up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    pub epoch: Epoch,
    /// Stable word, e.g. `exited`.
    pub reason: String,
    /// A sentence a person can act on.
    pub message: String,
    pub may_retry: bool,
    pub unfinished: Unfinished,
}

/// What the turn under way has begun and not ended, as the log has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unfinished {
    /// Tool calls without a result, oldest first.
    pub calls: Vec<EventId>,
    /// The model request without an end.
    pub span: Option<EventId>,
}

impl Conversation {
    /// A sandbox came one step further. When it is ready, the first waiting turn is handed to it.
    ///
    /// By then the end of its predecessor's journal is in the log: what is still `unfinished` there will never be ended by anybody.
    pub fn report_startup(
        &mut self,
        report: PhaseReport,
        unfinished: Unfinished,
        moment: Moment<'_>,
    ) -> Result<(), Refusal> {
        self.refuse_stale(report.epoch)?;
        let startup = self.session.startup.get_or_insert_with(|| Startup::begin(1, moment.now));
        startup.reach(report.phase, report.detail, report.reached_at);
        if report.spawn_mode.is_some() {
            startup.spawn_mode = report.spawn_mode;
        }
        self.session.updated_at = moment.now;
        if report.phase == StartupPhase::Ready && self.session.sandbox_id.is_none() {
            self.session.sandbox_id = report.sandbox;
            self.close_unfinished_of_first(unfinished, moment);
            if self.session.status == SessionStatus::Rescheduling {
                match self.open_turns.first().map(|turn| turn.id) {
                    Some(turn) => self.show_running(turn, moment),
                    None => self.session.status = SessionStatus::Idle,
                }
            }
            if self.open_turns.is_empty() {
                self.session.idle_since = Some(moment.now);
            }
            self.advance(moment);
        } else if report.phase == StartupPhase::Ready && self.session.sandbox_id == report.sandbox {
            self.hand_over_again();
        }
        Ok(())
    }

    /// The sandbox linked anew. Whoever held its link before may have died with a message in his hands, so a turn is sent once more
    /// until the journal shows that it began, an answer until the harness has it, an interrupt until the turn ends. A sandbox that has
    /// it already changes nothing.
    fn hand_over_again(&mut self) {
        let epoch = self.session.epoch;
        let Some(turn) = self.open_turns.first().cloned() else { return };
        let Some(sandbox) = self.holder_of(&turn) else { return };
        let (id, is_to_end) = (turn.id, turn.interrupt_requested);
        if turn.state == (TurnState::Dispatched { epoch }) {
            self.changes.outgoing.push(Outgoing::StartTurn { sandbox, epoch, turn });
        } else {
            self.answer_again();
        }
        if is_to_end {
            self.changes.outgoing.push(Outgoing::InterruptTurn { sandbox, epoch, turn: id });
        }
    }

    /// A sandbox is gone: its turn goes to the next one, or ends when that has been tried often enough.
    ///
    /// The loss of a sandbox that is not the session's current one changes nothing.
    pub fn lose_sandbox(&mut self, loss: Loss, moment: Moment<'_>) {
        if self.refuse_stale(loss.epoch).is_err() {
            return;
        }
        let was_ready = self.session.sandbox_id.take().is_some();
        let starts = if was_ready { 0 } else { self.starts() };
        let may_start_again = loss.may_retry && starts < MAX_STARTS;
        match self.open_turns.first().cloned() {
            // Its user wanted it ended, and now it has.
            Some(turn) if turn.interrupt_requested => {
                self.session.startup = None;
                self.close_unfinished_of_first(loss.unfinished, moment);
                self.end_turn(turn.id, StopReason::Interrupted, None, moment);
                self.advance(moment);
            }
            // It needs no sandbox until somebody answers.
            Some(turn) if turn.is_waiting() => {
                self.session.startup = None;
                self.park(turn);
            }
            Some(turn) if may_start_again && turn.attempts <= MAX_RETAKES => {
                self.requeue(turn);
                self.session.status = SessionStatus::Rescheduling;
                let body = EventBody::SessionStatusRescheduled {
                    reason: loss.reason,
                    message: loss.message,
                };
                self.append(None, body, moment);
                self.provision(starts + 1, moment);
            }
            Some(turn) => {
                self.give_up_start(&loss.message);
                self.close_unfinished_of_first(loss.unfinished, moment);
                let reason = if turn.attempts > MAX_RETAKES {
                    StopReason::RetriesExhausted
                } else {
                    StopReason::SandboxLost
                };
                self.end_turn(turn.id, reason, Some(loss.message), moment);
                self.advance(moment);
            }
            // It was idle: the next message brings a new one.
            None if was_ready => self.session.startup = None,
            None if may_start_again => self.provision(starts + 1, moment),
            None => {
                self.give_up_start(&loss.message);
                self.append_error(None, &loss.reason, loss.message, moment);
            }
        }
        if self.session.epoch == loss.epoch {
            // No new sandbox was asked for. Should the old one come back all the same, it changes nothing.
            self.raise_epoch();
        }
    }

    pub(super) fn close_unfinished_of_first(
        &mut self,
        mut unfinished: Unfinished,
        moment: Moment<'_>,
    ) {
        let Some(turn) = self.open_turns.first() else { return };
        // A call that waits for an answer is not lost: it can still be made.
        unfinished.calls.retain(|call| turn.actions.iter().all(|action| action.event_id != *call));
        self.close_unfinished(turn.id, unfinished, moment);
    }

    /// Ends what nobody will end any more, so that no reader waits for it.
    pub(super) fn close_unfinished(
        &mut self,
        turn: TurnId,
        unfinished: Unfinished,
        moment: Moment<'_>,
    ) {
        for tool_use_id in unfinished.calls {
            let content = vec![ContentBlock::text(CALL_LOST)];
            let body = EventBody::AgentToolResult { tool_use_id, content, is_error: true };
            self.append(Some(turn), body, moment);
        }
        if let Some(model_request_start_id) = unfinished.span {
            let body = EventBody::SpanModelRequestEnd {
                model_request_start_id,
                is_error: true,
                model_usage: ModelUsage::default(),
            };
            self.append(Some(turn), body, moment);
        }
    }

    /// Gives an idle session's sandbox back; the workspace stays. A turn that waits for an answer needs none meanwhile.
    pub fn release_sandbox(
        &mut self,
        epoch: Epoch,
        sandbox: SandboxId,
        moment: Moment<'_>,
    ) -> Result<(), Refusal> {
        self.refuse_stale(epoch)?;
        if self.session.sandbox_id != Some(sandbox) {
            return Err(Refusal::OtherSandbox);
        }
        if let Some(turn) = self.open_turns.first().cloned() {
            if !turn.is_waiting() || turn.interrupt_requested {
                return Err(Refusal::TurnUnderWay);
            }
            self.park(turn);
        }
        self.stop_sandbox(StopWhy::Released, moment);
        Ok(())
    }

    /// `StartTurn` found no link. The turn waits again, and sandbox-service is asked to bring that sandbox's link
    /// back or to say that it is gone.
    pub fn turn_undeliverable(
        &mut self,
        epoch: Epoch,
        turn: TurnId,
        unfinished: Unfinished,
        moment: Moment<'_>,
    ) {
        if self.refuse_stale(epoch).is_err() {
            return;
        }
        let dispatched = TurnState::Dispatched { epoch };
        let waiting =
            self.open_turns.iter().find(|open| open.id == turn && open.state == dispatched);
        let Some(mut waiting) = waiting.cloned() else {
            return;
        };
        if waiting.interrupt_requested {
            self.close_unfinished(turn, unfinished, moment);
            self.end_turn(turn, StopReason::Interrupted, None, moment);
            self.advance(moment);
            return;
        }
        // It reached nobody, so it does not count as an attempt.
        waiting.attempts = waiting.attempts.saturating_sub(1);
        self.requeue(waiting);
        self.session.sandbox_id = None;
        self.session.startup = Some(Startup::begin(1, moment.now));
        self.changes.outgoing.push(Outgoing::ProvisionSandbox { epoch });
    }

    /// `InterruptTurn` found no link. The turn ends all the same; the sandbox that may still work on it is cut off.
    pub fn interrupt_undeliverable(
        &mut self,
        epoch: Epoch,
        turn: TurnId,
        unfinished: Unfinished,
        moment: Moment<'_>,
    ) {
        if self.refuse_stale(epoch).is_err() {
            return;
        }
        if self.open_turns.first().is_none_or(|open| open.id != turn) {
            return;
        }
        self.close_unfinished_of_first(unfinished, moment);
        self.stop_sandbox(StopWhy::Superseded, moment);
        self.end_turn(turn, StopReason::Interrupted, None, moment);
        self.advance(moment);
    }

    /// An answer found no link. It is kept with the turn, and the sandbox gets it when it links again; sandbox-service is asked to bring
    /// that link back or to say that the sandbox is gone.
    pub fn answer_undeliverable(&mut self, epoch: Epoch, turn: TurnId) {
        if self.refuse_stale(epoch).is_ok() && self.open_turns.iter().any(|open| open.id == turn) {
            self.changes.outgoing.push(Outgoing::ProvisionSandbox { epoch });
        }
    }

    /// Asks for a sandbox of the next epoch. `start` counts the tries in a row, from 1.
    pub(super) fn provision(&mut self, start: u32, moment: Moment<'_>) {
        let epoch = self.raise_epoch();
        self.session.startup = Some(Startup::begin(start, moment.now));
        self.session.updated_at = moment.now;
        self.changes.outgoing.push(Outgoing::ProvisionSandbox { epoch });
    }

    /// Stops whatever sandbox the session has or is getting, and raises the epoch so that it can change nothing more.
    pub(super) fn stop_sandbox(&mut self, reason: StopWhy, moment: Moment<'_>) {
        let sandbox = self.session.sandbox_id;
        let epoch = self.session.epoch;
        self.raise_epoch();
        self.changes.outgoing.push(Outgoing::StopSandbox { sandbox, epoch, reason });
        self.session.startup = None;
        self.session.updated_at = moment.now;
    }

    fn raise_epoch(&mut self) -> Epoch {
        if self.session.journal_through > 0 {
            let (epoch, through) = (self.session.epoch, self.session.journal_through);
            self.session.former_journal = Some(JournalMark { epoch, through });
        }
        self.session.epoch = self.session.epoch.next();
        self.session.journal_through = 0;
        self.session.sandbox_id = None;
        self.session.epoch
    }

    /// The turn goes on waiting without a sandbox. Standing still is no failed attempt, however often it comes.
    fn park(&mut self, mut turn: Turn) {
        turn.attempts = turn.attempts.min(1);
        self.note_turn(turn);
    }

    fn requeue(&mut self, mut turn: Turn) {
        turn.state = TurnState::Queued;
        self.note_turn(turn);
    }

    fn starts(&self) -> u32 {
        self.session.startup.as_ref().map_or(0, |startup| startup.attempt)
    }

    fn give_up_start(&mut self, why: &str) {
        if let Some(startup) = &mut self.session.startup {
            startup.failure = Some(why.to_owned());
        }
    }
}
