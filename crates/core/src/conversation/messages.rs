//! What a client sends into a session.

use std::mem;

use crate::turn::{ActionAnswer, ActionKind};

use super::{
    ClientEvent, Conversation, EventBody, Moment, Outgoing, Refusal, SessionStatus, StopReason,
    Turn, TurnId, TurnState, Unfinished,
};

/// Where a client's event came to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    pub number: i64,
    /// The turn that the event opened.
    pub turn: Option<TurnId>,
}

impl Conversation {
    /// Takes a client's events into the log, all or none: a message opens a turn, an interrupt ends the one under way, an answer
    /// lets one that waits for it go on.
    ///
    /// `unfinished` is what a lost sandbox left behind, in case the turn is interrupted before the next one is there to end it.
    pub fn send(
        &mut self,
        events: Vec<ClientEvent>,
        mut unfinished: Unfinished,
        moment: Moment<'_>,
    ) -> Result<Vec<Taken>, Refusal> {
        self.refuse_ended()?;
        let mut taken = Vec::with_capacity(events.len());
        for event in events {
            let told = self.take_client_event(event, &mut unfinished, moment)?;
            let was_idle = self.session.status == SessionStatus::Idle;
            self.advance(moment);
            if was_idle {
                self.tell_if_out_of_money(moment);
            }
            taken.push(told);
        }
        Ok(taken)
    }

    fn take_client_event(
        &mut self,
        event: ClientEvent,
        unfinished: &mut Unfinished,
        moment: Moment<'_>,
    ) -> Result<Taken, Refusal> {
        match &event.body {
            EventBody::UserInterrupt {} => {
                let under_way = self.open_turns.first().map(|turn| turn.id);
                let number = self.append_as(event.id, under_way, event.body, moment);
                self.interrupt(unfinished, moment);
                Ok(Taken { number, turn: None })
            }
            EventBody::UserToolConfirmation { tool_use_id, result, deny_message } => {
                let answer = if result == "allow" {
                    ActionAnswer::Allow
                } else {
                    ActionAnswer::Deny { message: deny_message.clone() }
                };
                self.answer(*tool_use_id, ActionKind::Confirmation, answer, event, moment)
            }
            EventBody::UserCustomToolResult { custom_tool_use_id, content, is_error } => {
                let answer = ActionAnswer::Result { content: content.clone(), is_error: *is_error };
                self.answer(*custom_tool_use_id, ActionKind::CustomTool, answer, event, moment)
            }
            EventBody::UserMessage { .. } => Ok(self.open_turn(event, moment)),
            forbidden @ (EventBody::AgentMessage { .. }
            | EventBody::AgentThinking { .. }
            | EventBody::AgentToolUse { .. }
            | EventBody::AgentToolResult { .. }
            | EventBody::AgentCustomToolUse { .. }
            | EventBody::AgentThreadContextCompacted {}
            | EventBody::SessionStatusRunning {}
            | EventBody::SessionStatusIdle { .. }
            | EventBody::SessionStatusRescheduled { .. }
            | EventBody::SessionStatusTerminated { .. }
            | EventBody::SessionError { .. }
            | EventBody::SessionUpdated { .. }
            | EventBody::SessionUsage { .. }
            | EventBody::SessionAlarm { .. }
            | EventBody::SessionContextRestored { .. }
            | EventBody::SessionDeleted {}
            | EventBody::SpanModelRequestStart {}
            | EventBody::SpanModelRequestEnd { .. }) => {
                Err(Refusal::ForbiddenEvent(forbidden.type_name()))
            }
        }
    }

    fn open_turn(&mut self, event: ClientEvent, moment: Moment<'_>) -> Taken {
        let id = TurnId::mint(moment.ids);
        let number = self.append_as(event.id, Some(id), event.body, moment);
        self.last_ordinal += 1;
        let turn = Turn {
            id,
            ordinal: self.last_ordinal,
            event_number: number,
            state: TurnState::Queued,
            attempts: 0,
            actions: Vec::new(),
            interrupt_requested: false,
            created_at: moment.now,
            started_at: None,
        };
        self.open_turns.push(turn.clone());
        self.note_turn(turn);
        Taken { number, turn: Some(id) }
    }

    /// Stops the turn under way. One that no sandbox has ends at once; else the sandbox ends it.
    fn interrupt(&mut self, unfinished: &mut Unfinished, moment: Moment<'_>) {
        let Some(mut turn) = self.open_turns.first().cloned() else {
            return;
        };
        if let Some(sandbox) = self.holder_of(&turn) {
            let (epoch, id) = (self.session.epoch, turn.id);
            turn.interrupt_requested = true;
            self.note_turn(turn);
            self.changes.outgoing.push(Outgoing::InterruptTurn { sandbox, epoch, turn: id });
        } else {
            self.close_unfinished_of_first(mem::take(unfinished), moment);
            self.end_turn(turn.id, StopReason::Interrupted, None, moment);
        }
    }
}
