//! What may happen to a session, and what follows from it: the rules that the log of every session keeps.
//!
//! A [`Conversation`] is one session with its unfinished turns, as they stand under the session's row lock. Each method is something that
//! happened; it changes the session and notes in [`Changes`] which events were appended, which turns moved and what has to be
//! sent. Whoever holds the lock writes all of that in one transaction, or nothing.

mod actions;
mod alarm;
mod fork;
mod journal;
mod messages;
mod money;
mod refusal;
mod sandbox;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::budget::{Allowance, WireBudget};
use crate::clock::IdSource;
use crate::id::{EventId, SandboxId, TurnId};
use crate::sandbox::{Epoch, Startup};
use crate::session::{
    ClientEvent, Event, EventBody, RetryStatus, Session, SessionPatch, SessionStatus, WireError,
};
use crate::turn::{StopReason, Turn, TurnState};

pub use fork::{Fork, ForkDescription, ForkPoint};
pub use journal::NumberedEntry;
pub use messages::Taken;
pub use refusal::Refusal;
pub use sandbox::{Loss, MAX_STARTS, PhaseReport, Unfinished};

/// When a rule is applied, and where new ids come from.
#[derive(Clone, Copy)]
pub struct Moment<'a> {
    pub now: DateTime<Utc>,
    pub ids: &'a dyn IdSource,
}

/// One session and its unfinished turns.
pub struct Conversation {
    session: Session,
    /// Unfinished turns by ordinal. The first is the one under way or next in line.
    open_turns: Vec<Turn>,
    last_ordinal: i64,
    /// What the team may spend and has spent.
    team: Allowance,
    changes: Changes,
}

/// What a transaction has to write beside the session's row.
#[derive(Debug, Default, PartialEq)]
pub struct Changes {
    /// In the order of their numbers.
    pub events: Vec<Event>,
    /// New and changed turns, each once, as they now stand.
    pub turns: BTreeMap<i64, Turn>,
    /// In the order in which they have to leave.
    pub outgoing: Vec<Outgoing>,
}

/// What another service is told after the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    ProvisionSandbox {
        epoch: Epoch,
    },
    StartTurn {
        sandbox: SandboxId,
        epoch: Epoch,
        turn: Turn,
    },
    InterruptTurn {
        sandbox: SandboxId,
        epoch: Epoch,
        turn: TurnId,
    },
    /// `turn` holds the answer to `call`.
    AnswerAction {
        sandbox: SandboxId,
        epoch: Epoch,
        turn: Turn,
        call: EventId,
    },
    StopSandbox {
        sandbox: Option<SandboxId>,
        epoch: Epoch,
        reason: StopWhy,
    },
}

/// Why a sandbox is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopWhy {
    Released,
    Archived,
    Deleted,
    Superseded,
    BudgetReached,
    Alarm,
}

impl StopWhy {
    pub fn as_word(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Archived => "archived",
            Self::Deleted => "deleted",
            Self::Superseded => "superseded",
            Self::BudgetReached => "budget_reached",
            Self::Alarm => "alarm",
        }
    }
}

impl Conversation {
    /// Takes up a stored session.
    ///
    /// `open_turns` are all its turns that have not ended, `last_ordinal` the highest ordinal ever given in it (0 when there was no turn).
    pub fn resume(session: Session, open_turns: Vec<Turn>, last_ordinal: i64) -> Self {
        let (team, changes) = (Allowance::default(), Changes::default());
        Self { session, open_turns, last_ordinal, team, changes }
    }

    /// The same conversation of a team that may spend this much.
    #[must_use]
    pub fn of_team(self, team: Allowance) -> Self {
        Self { team, ..self }
    }

    /// Begins a new session: its sandbox is asked for at once, so that the first message finds it ready.
    pub fn begin(session: Session, moment: Moment<'_>) -> Self {
        let mut conversation = Self::resume(session, Vec::new(), 0);
        conversation.session.idle_since = Some(moment.now);
        conversation.provision(1, moment);
        conversation
    }

    pub fn session(&self) -> &Session {
        &self.session
    }

    pub fn open_turns(&self) -> &[Turn] {
        &self.open_turns
    }

    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// The session as it now stands, and what else to write.
    pub fn into_parts(self) -> (Session, Changes) {
        (self.session, self.changes)
    }

    /// Changes title, metadata or tools.
    pub fn update(&mut self, patch: SessionPatch, moment: Moment<'_>) -> Result<(), Refusal> {
        self.refuse_ended()?;
        let changes_agent = patch.tools.is_some() || patch.mcp_servers.is_some();
        if changes_agent && !self.open_turns.is_empty() {
            return Err(Refusal::TurnUnderWay);
        }
        if let Some(budget) = patch.budget {
            self.refuse_budget(budget)?;
        }
        let title = patch.title.filter(|title| *title != self.session.title);
        if let Some(title) = &title {
            self.session.title.clone_from(title);
        }
        let metadata_before = self.session.metadata.clone();
        for (key, value) in patch.metadata {
            match value {
                Some(value) => self.session.metadata.insert(key, value),
                None => self.session.metadata.remove(&key),
            };
        }
        let metadata =
            (self.session.metadata != metadata_before).then(|| self.session.metadata.clone());
        let agent_before = self.session.agent.clone();
        if let Some(tools) = patch.tools {
            self.session.agent.definition.tools = tools;
        }
        if let Some(servers) = patch.mcp_servers {
            self.session.agent.definition.mcp_servers = servers;
        }
        let agent =
            (self.session.agent != agent_before).then(|| Box::new(self.session.agent.clone()));
        let is_another_agent = agent.is_some();
        let budget = patch.budget.filter(|budget| *budget != self.session.budget);
        if let Some(budget) = budget {
            self.session.budget = budget;
        }
        let budget = budget.map(|budget| budget.map(WireBudget::from));
        if title.is_some() || metadata.is_some() || is_another_agent || budget.is_some() {
            let body = EventBody::SessionUpdated { title, metadata, agent, budget };
            self.append(None, body, moment);
        }
        if is_another_agent {
            // A sandbox is told once what its agent may do.
            self.stop_sandbox(StopWhy::Superseded, moment);
        }
        // A turn that waited for money may go on.
        self.advance(moment);
        Ok(())
    }

    /// Ends the session for good, as [`Conversation::archive`], unless it was used after `since`: a message that comes while somebody
    /// decides that the session is no longer needed wins.
    pub fn archive_untouched(
        &mut self,
        since: DateTime<Utc>,
        moment: Moment<'_>,
    ) -> Result<(), Refusal> {
        if self.session.updated_at > since || !self.open_turns.is_empty() {
            return Err(Refusal::TouchedMeanwhile);
        }
        self.archive(Unfinished::default(), moment);
        Ok(())
    }

    /// Ends the session for good; its log stays readable. Archiving twice changes nothing.
    pub fn archive(&mut self, unfinished: Unfinished, moment: Moment<'_>) {
        if self.session.archived_at.is_some() {
            return;
        }
        self.close_unfinished_of_first(unfinished, moment);
        while let Some(turn) = self.open_turns.first() {
            let id = turn.id;
            self.end_turn(id, StopReason::Interrupted, None, moment);
        }
        if self.session.status != SessionStatus::Terminated {
            let body = EventBody::SessionStatusTerminated { reason: "archived".to_owned() };
            self.append(None, body, moment);
        }
        self.session.status = SessionStatus::Terminated;
        self.session.archived_at = Some(moment.now);
        self.stop_sandbox(StopWhy::Archived, moment);
    }

    /// What has to be sent when the session's rows go away. Nothing of it is stored, so this changes no state.
    pub fn delete(&mut self) {
        self.changes.outgoing.push(Outgoing::StopSandbox {
            sandbox: None,
            epoch: self.session.epoch,
            reason: StopWhy::Deleted,
        });
    }

    fn refuse_ended(&self) -> Result<(), Refusal> {
        if self.session.archived_at.is_some() {
            Err(Refusal::Archived)
        } else if self.session.status == SessionStatus::Terminated {
            Err(Refusal::Terminated)
        } else {
            Ok(())
        }
    }

    /// Lets pass what comes from the session's sandbox, or from the one that is on its way up.
    fn refuse_stale(&self, given: Epoch) -> Result<(), Refusal> {
        let current = self.session.epoch;
        let has_sandbox = self.session.sandbox_id.is_some() || self.is_starting();
        if given == current && has_sandbox && self.session.is_live() {
            Ok(())
        } else {
            Err(Refusal::StaleEpoch { given, current })
        }
    }

    /// Appends one event of the platform's own.
    fn append(&mut self, turn_id: Option<TurnId>, body: EventBody, moment: Moment<'_>) -> i64 {
        self.append_as(EventId::mint(moment.ids), turn_id, body, moment)
    }

    /// Appends one event whose id was minted elsewhere. The only place that numbers events.
    fn append_as(
        &mut self,
        id: EventId,
        turn_id: Option<TurnId>,
        body: EventBody,
        moment: Moment<'_>,
    ) -> i64 {
        let number = self.session.last_event + 1;
        self.session.last_event = number;
        self.session.updated_at = moment.now;
        // What a user sent counts as processed when its turn begins; the reader works that out.
        let is_waiting = matches!(body, EventBody::UserMessage { .. });
        let processed_at = if is_waiting { None } else { Some(moment.now) };
        self.changes.events.push(Event { id, number, turn_id, processed_at, body });
        number
    }

    fn append_error(
        &mut self,
        turn_id: Option<TurnId>,
        code: &str,
        message: String,
        moment: Moment<'_>,
    ) {
        let error = WireError {
            kind: "unknown_error".to_owned(),
            message,
            retry_status: RetryStatus::Exhausted,
            code: Some(code.to_owned()),
        };
        self.append(turn_id, EventBody::SessionError { error }, moment);
    }

    /// Sets the session to work: shows that it runs, hands the next turn to the sandbox, or asks for one.
    fn advance(&mut self, moment: Moment<'_>) {
        let Some(turn) = self.open_turns.first().cloned() else {
            return;
        };
        if turn.is_waiting() {
            return;
        }
        if turn.state == TurnState::Queued && self.is_out_of_money() {
            self.halt_for_money(turn.id, moment);
            return;
        }
        if self.session.status == SessionStatus::Idle {
            self.show_running(turn.id, moment);
        }
        if turn.state != TurnState::Queued {
            return;
        }
        match self.session.sandbox_id {
            Some(sandbox) => self.dispatch(turn, sandbox, moment),
            None if self.is_starting() => {}
            None => self.provision(1, moment),
        }
    }

    fn show_running(&mut self, turn: TurnId, moment: Moment<'_>) {
        self.session.status = SessionStatus::Running;
        self.session.idle_since = None;
        self.append(Some(turn), EventBody::SessionStatusRunning {}, moment);
    }

    fn dispatch(&mut self, mut turn: Turn, sandbox: SandboxId, moment: Moment<'_>) {
        let epoch = self.session.epoch;
        turn.state = TurnState::Dispatched { epoch };
        turn.attempts += 1;
        turn.started_at.get_or_insert(moment.now);
        self.changes.outgoing.push(Outgoing::StartTurn { sandbox, epoch, turn: turn.clone() });
        self.note_turn(turn);
    }

    /// Ends an unfinished turn with exactly one idle event, and an error event before it where the reason is one.
    fn end_turn(
        &mut self,
        id: TurnId,
        reason: StopReason,
        message: Option<String>,
        moment: Moment<'_>,
    ) {
        let Some(position) = self.open_turns.iter().position(|turn| turn.id == id) else {
            return;
        };
        let mut turn = self.open_turns.remove(position);
        self.close_unanswered(&turn, moment);
        turn.actions.clear();
        turn.started_at.get_or_insert(moment.now);
        turn.state = TurnState::Ended { reason, at: moment.now };
        self.changes.turns.insert(turn.ordinal, turn);
        if reason.is_error() {
            let message = message.unwrap_or_else(|| default_message(reason).to_owned());
            self.append_error(Some(id), reason.as_word(), message, moment);
        }
        let body = EventBody::SessionStatusIdle { stop_reason: reason.into() };
        self.append(Some(id), body, moment);
        self.session.status = SessionStatus::Idle;
        self.session.idle_since = Some(moment.now);
    }

    fn note_turn(&mut self, turn: Turn) {
        if let Some(open) = self.open_turns.iter_mut().find(|open| open.id == turn.id) {
            *open = turn.clone();
        }
        self.changes.turns.insert(turn.ordinal, turn);
    }

    /// The sandbox that works on the turn, or holds its calls open.
    fn holder_of(&self, turn: &Turn) -> Option<SandboxId> {
        let epoch = match turn.state {
            TurnState::Dispatched { epoch }
            | TurnState::Running { epoch }
            | TurnState::Waiting { epoch } => epoch,
            TurnState::Queued | TurnState::Ended { .. } => return None,
        };
        self.session.sandbox_id.filter(|_| epoch == self.session.epoch)
    }

    fn is_starting(&self) -> bool {
        self.session.sandbox_id.is_none()
            && self.session.startup.as_ref().is_some_and(Startup::is_under_way)
    }
}

fn default_message(reason: StopReason) -> &'static str {
    match reason {
        StopReason::TimedOut => {
            "the agent showed no sign of life for too long and was stopped; the session can be used again"
        }
        StopReason::SandboxLost => "the sandbox was lost; send a message to go on in a new one",
        StopReason::MaxTurns => "the agent reached its limit of model requests in one turn",
        StopReason::RetriesExhausted => {
            "the turn was given to several sandboxes and finished in none; the session can be used again"
        }
        StopReason::EndTurn
        | StopReason::Interrupted
        | StopReason::RequiresAction
        | StopReason::BudgetReached
        | StopReason::Error
        | StopReason::Refusal => "the agent stopped with an error; the session can be used again",
    }
}

#[cfg(test)]
mod tests;
