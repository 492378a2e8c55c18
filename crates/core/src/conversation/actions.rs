//! Calls that wait for a person or a client, and their answers.

use crate::id::EventId;
use crate::session::{ContentBlock, StoppedBecause};
use crate::turn::{Action, ActionAnswer, ActionKind};

use super::{
    ClientEvent, Conversation, EventBody, Moment, Outgoing, Refusal, SessionStatus, Taken, Turn,
    TurnId, TurnState,
};

const NEVER_ANSWERED: &str = "the turn ended before anybody allowed this call; it was not made";

impl Conversation {
    /// A call came that has to be answered first: the turn stands still, which costs nothing for however long it takes.
    pub(super) fn require_action(
        &mut self,
        turn: TurnId,
        event_id: EventId,
        kind: ActionKind,
        moment: Moment<'_>,
    ) {
        let under_way = self.open_turns.first().filter(|open| open.id == turn).cloned();
        let Some(mut turn) = under_way.filter(|turn| self.holder_of(turn).is_some()) else {
            return;
        };
        turn.actions.push(Action { event_id, kind, answer: None });
        turn.state = TurnState::Waiting { epoch: self.session.epoch };
        self.show_waiting(&turn, moment);
        self.note_turn(turn);
    }

    /// The harness has the answer: what becomes of the call now is its business.
    pub(super) fn resume_action(&mut self, turn: TurnId, event_id: EventId) {
        let Some(mut turn) = self.open_turns.iter().find(|open| open.id == turn).cloned() else {
            return;
        };
        turn.actions.retain(|action| action.event_id != event_id || action.answer.is_none());
        self.note_turn(turn);
    }

    /// The call ended without an answer, because the harness gave it up: nobody has to answer it any more.
    pub(super) fn drop_action(&mut self, turn: TurnId, call: EventId, moment: Moment<'_>) {
        let Some(mut turn) = self.open_turns.iter().find(|open| open.id == turn).cloned() else {
            return;
        };
        let known = turn.actions.len();
        turn.actions.retain(|action| action.event_id != call);
        if turn.actions.len() == known {
            return;
        }
        let goes_on = turn.is_waiting() && turn.unanswered().is_empty();
        let id = turn.id;
        if goes_on {
            turn.state = match self.holder_of(&turn) {
                Some(_) => TurnState::Running { epoch: self.session.epoch },
                None => TurnState::Queued,
            };
        }
        self.note_turn(turn);
        if goes_on {
            self.show_running(id, moment);
        }
    }

    /// Takes an answer. With the last one the turn goes on: in the sandbox that holds the call open, else in a new one.
    pub(super) fn answer(
        &mut self,
        call: EventId,
        kind: ActionKind,
        answer: ActionAnswer,
        event: ClientEvent,
        moment: Moment<'_>,
    ) -> Result<Taken, Refusal> {
        let mut turn = self.open_turns.first().cloned().ok_or(Refusal::NothingToAnswer(call))?;
        let waiting = turn.actions.iter_mut().find(|action| action.event_id == call);
        let action = waiting.ok_or(Refusal::NothingToAnswer(call))?;
        if action.kind != kind {
            return Err(Refusal::WrongAnswer(call));
        }
        if action.answer.is_some() {
            return Err(Refusal::AlreadyAnswered(call));
        }
        action.answer = Some(answer);
        let id = turn.id;
        let number = self.append_as(event.id, Some(id), event.body, moment);
        let holder = self.holder_of(&turn);
        if let Some(sandbox) = holder {
            let epoch = self.session.epoch;
            let answered = Outgoing::AnswerAction { sandbox, epoch, turn: turn.clone(), call };
            self.changes.outgoing.push(answered);
        }
        if turn.unanswered().is_empty() {
            let epoch = self.session.epoch;
            turn.state = match holder {
                Some(_) => TurnState::Running { epoch },
                None => TurnState::Queued,
            };
            self.note_turn(turn);
            self.show_running(id, moment);
        } else {
            self.show_waiting(&turn, moment);
            self.note_turn(turn);
        }
        Ok(Taken { number, turn: None })
    }

    /// What answers were given to the turn that the sandbox may have missed.
    pub(super) fn answer_again(&mut self) {
        let Some(turn) = self.open_turns.first().cloned() else { return };
        let Some(sandbox) = self.holder_of(&turn) else { return };
        let epoch = self.session.epoch;
        for action in turn.actions.iter().filter(|action| action.answer.is_some()) {
            let (turn, call) = (turn.clone(), action.event_id);
            self.changes.outgoing.push(Outgoing::AnswerAction { sandbox, epoch, turn, call });
        }
    }

    /// Ends the calls that a turn leaves behind unanswered, so that no reader waits for them.
    pub(super) fn close_unanswered(&mut self, turn: &Turn, moment: Moment<'_>) {
        for action in turn.actions.iter().filter(|action| action.kind == ActionKind::Confirmation) {
            let body = EventBody::AgentToolResult {
                tool_use_id: action.event_id,
                content: vec![ContentBlock::text(NEVER_ANSWERED)],
                is_error: true,
            };
            self.append(Some(turn.id), body, moment);
        }
    }

    fn show_waiting(&mut self, turn: &Turn, moment: Moment<'_>) {
        let stop_reason = StoppedBecause::requires_action(turn.unanswered());
        self.append(Some(turn.id), EventBody::SessionStatusIdle { stop_reason }, moment);
        self.session.status = SessionStatus::Idle;
        self.session.idle_since = Some(moment.now);
    }
}
