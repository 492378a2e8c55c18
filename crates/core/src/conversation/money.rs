//! What a conversation costs, and how it stands still when there is no money left.

use crate::budget::{Budget, NanoDollars, WireBudget};
use crate::session::ModelUsage;

use super::{
    Conversation, EventBody, Moment, Refusal, SessionStatus, StopReason, StopWhy, TurnId, TurnState,
};

impl Conversation {
    /// Counts one model call. The team's own count is the caller's to keep.
    pub fn record_usage(&mut self, usage: ModelUsage, cost: NanoDollars, moment: Moment<'_>) {
        self.session.usage.add(usage, cost);
        self.team.spent = self.team.spent.plus(cost);
        if self.session.is_live() {
            let turn = self.open_turns.first().map(|turn| turn.id);
            let budget = self.session.budget.map(WireBudget::from);
            let usage = self.session.usage.into();
            self.append(turn, EventBody::SessionUsage { usage, budget }, moment);
        }
    }

    /// Goes on with a turn that waited for money, if there is some now.
    pub fn resume_paused(&mut self, moment: Moment<'_>) {
        if self.session.is_live() {
            self.advance(moment);
        }
    }

    pub(super) fn is_out_of_money(&self) -> bool {
        self.session.allowance().is_used_up() || self.team.is_used_up()
    }

    /// Whether a turn ended because its model calls were refused for want of money, and not because its user wanted it to.
    pub(super) fn stopped_for_money(&self, turn: TurnId, reason: StopReason) -> bool {
        let is_wanted = self.open_turns.iter().any(|t| t.id == turn && t.interrupt_requested);
        let is_stop = match reason {
            StopReason::Error
            | StopReason::Interrupted
            | StopReason::RetriesExhausted
            | StopReason::BudgetReached => true,
            StopReason::EndTurn
            | StopReason::RequiresAction
            | StopReason::MaxTurns
            | StopReason::TimedOut
            | StopReason::SandboxLost
            | StopReason::Refusal => false,
        };
        is_stop && !is_wanted && self.is_out_of_money()
    }

    /// The turn goes back to the head of the queue, where it waits for money. Standing still is no failed attempt.
    pub(super) fn hold_turn(&mut self, id: TurnId) {
        let Some(mut turn) = self.open_turns.iter().find(|turn| turn.id == id).cloned() else {
            return;
        };
        turn.state = TurnState::Queued;
        turn.attempts = turn.attempts.min(1);
        self.note_turn(turn);
    }

    /// Shows that the session stands still. Its sandbox, which could do nothing without a model, is given back.
    pub(super) fn halt_for_money(&mut self, turn: TurnId, moment: Moment<'_>) {
        if self.session.status == SessionStatus::Idle {
            return;
        }
        self.stop_sandbox(StopWhy::BudgetReached, moment);
        self.session.status = SessionStatus::Idle;
        self.session.idle_since = Some(moment.now);
        self.append_halt(turn, moment);
    }

    /// A message to a session that stands still is kept, and its sender told that it waits.
    pub(super) fn tell_if_out_of_money(&mut self, moment: Moment<'_>) {
        // Nothing else keeps an idle session from its next turn.
        if let Some(turn) = self.open_turns.first().cloned()
            && turn.state == TurnState::Queued
            && self.session.status == SessionStatus::Idle
        {
            self.append_halt(turn.id, moment);
        }
    }

    fn append_halt(&mut self, turn: TurnId, moment: Moment<'_>) {
        let stop_reason = StopReason::BudgetReached.into();
        self.append(Some(turn), EventBody::SessionStatusIdle { stop_reason }, moment);
    }

    /// A limit can be set only when the session is opened, and not below what is spent.
    pub(super) fn refuse_budget(&self, budget: Option<Budget>) -> Result<(), Refusal> {
        match (self.session.budget, budget) {
            (None, Some(_)) => Err(Refusal::BudgetCreateOnly),
            (_, Some(budget)) if budget.max_cost <= self.session.usage.cost_nano_usd => {
                Err(Refusal::BudgetNotRaised(self.session.usage.cost_nano_usd))
            }
            (_, Some(_) | None) => Ok(()),
        }
    }
}
