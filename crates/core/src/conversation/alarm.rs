//! Something was seen that must never happen.

use crate::egress::Alarm;

use super::{Conversation, EventBody, Moment, StopReason, StopWhy, Unfinished};

impl Conversation {
    /// Puts an alarm into the log. One that cannot be a mistake ends the sandbox, and the turn that it worked on.
    pub fn raise_alarm(&mut self, alarm: Alarm, unfinished: Unfinished, moment: Moment<'_>) {
        if !self.session.is_live() {
            return;
        }
        let Alarm { kind, message, host } = alarm;
        let has_sandbox = self.session.sandbox_id.is_some() || self.is_starting();
        let sandbox_ended = kind.ends_sandbox() && has_sandbox;
        let under_way = self.open_turns.first().filter(|turn| self.holder_of(turn).is_some());
        let turn = under_way.map(|turn| turn.id);
        let body = EventBody::SessionAlarm { kind, message: message.clone(), host, sandbox_ended };
        self.append(turn, body, moment);
        if !sandbox_ended {
            return;
        }
        self.close_unfinished_of_first(unfinished, moment);
        self.stop_sandbox(StopWhy::Alarm, moment);
        if let Some(turn) = turn {
            let message = format!("the sandbox was ended over an alarm: {message}");
            self.end_turn(turn, StopReason::Error, Some(message), moment);
        }
        self.advance(moment);
    }
}
