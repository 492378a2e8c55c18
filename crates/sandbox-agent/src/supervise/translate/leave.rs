//! Leave to make a call: who gives it, who is asked, and how the log tells.

use platform_core::agent::Permission;
use platform_core::id::EventId;
use platform_core::turn::{ActionAnswer, AnsweredAction};
use serde_json::{Map, Value};

use super::call::Leave;
use super::{Produced, ToolCall, Translation};

const DENIED: &str = "the user denied this call; it was not made";

/// What a harness that asks for leave is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::supervise) enum Verdict {
    Allow,
    Refuse,
    /// Somebody is asked.
    Wait,
    /// Not decided: the call's input is still to come.
    Later,
}

/// A call that was not made.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::supervise) struct Refused {
    pub(in crate::supervise) name: String,
    pub(in crate::supervise) input: Map<String, Value>,
    pub(in crate::supervise) why: String,
}

impl Translation<'_> {
    /// Says that the harness was told to make these calls: when it does, leave was given already, and the log has them.
    pub(in crate::supervise) fn expect(&mut self, allowed: impl Iterator<Item = AnsweredAction>) {
        self.expected.extend(allowed);
    }

    /// The harness asks for leave to make a call.
    pub(in crate::supervise) fn leave_asked(&mut self, call: &ToolCall) -> Vec<Produced> {
        let produced = self.finish_text();
        if let Some(known) = self.call(call) {
            known.learn_asked(call);
        }
        produced
    }

    /// What to tell a harness that asks for leave for a call, by its own id of the call. A harness may ask several times for one call.
    /// With `is_late` what is known of the input must do.
    pub(in crate::supervise) fn decide(
        &mut self,
        id: &str,
        is_late: bool,
    ) -> (Verdict, Vec<Produced>) {
        let Some(call) = self.calls.get_mut(id) else { return (Verdict::Refuse, Vec::new()) };
        match &call.leave {
            Leave::Open => {}
            Leave::Given => return (Verdict::Allow, Vec::new()),
            Leave::Awaited => return (Verdict::Wait, Vec::new()),
            Leave::Refused(_) => return (Verdict::Refuse, Vec::new()),
        }
        if is_late {
            call.complete();
        }
        let (name, is_complete) = (call.name().to_owned(), call.is_complete());
        let is_custom = self.policy.custom_tool(&name).is_some();
        match self.policy.permission(&name) {
            _ if is_custom => self.set_leave(id, Leave::Given, Verdict::Allow),
            Permission::Allow => self.set_leave(id, Leave::Given, Verdict::Allow),
            Permission::Ask | Permission::Deny if !is_complete => (Verdict::Later, Vec::new()),
            Permission::Ask if self.adopt(id) => (Verdict::Allow, Vec::new()),
            Permission::Ask => self.set_leave(id, Leave::Awaited, Verdict::Wait),
            Permission::Deny => {
                let why = format!("this agent may not use {name}; the call was not made");
                self.refuse(id, why)
            }
        }
    }

    /// Takes the answer for a call that waits for one, by the id of its event. `None` when no such call waits, else the harness's id of it.
    pub(in crate::supervise) fn answered(
        &mut self,
        event: EventId,
        answer: &ActionAnswer,
    ) -> Option<(String, Verdict, Vec<Produced>)> {
        let waits = |call: &super::Call| call.id == event && call.leave == Leave::Awaited;
        let id = self.calls.iter().find(|(_, call)| waits(call)).map(|(id, _)| id.clone())?;
        let (verdict, produced) = match answer {
            ActionAnswer::Allow => self.set_leave(&id, Leave::Given, Verdict::Allow),
            ActionAnswer::Deny { message } => self.refuse(&id, denied(message.as_deref())),
            ActionAnswer::Result { .. } => return None,
        };
        Some((id, verdict, produced))
    }

    /// Whether the harness may still be told something about the call.
    pub(in crate::supervise) fn is_open(&self, id: &str) -> bool {
        self.calls.contains_key(id)
    }

    /// The calls that were refused since this was asked last.
    pub(in crate::supervise) fn take_refused(&mut self) -> Vec<Refused> {
        std::mem::take(&mut self.refused)
    }

    /// Announces a call that goes on, unless leave for it is still to be asked for.
    pub(super) fn announce_if_free(&mut self, id: &str) -> Vec<Produced> {
        let Some(call) = self.calls.get(id) else { return Vec::new() };
        let is_free = self.policy.permission(call.name()) == Permission::Allow;
        if is_free || call.leave == Leave::Given { self.announce(id) } else { Vec::new() }
    }

    /// Whether the call is one that the harness was told to make. Then it goes by the id that the log has for it.
    pub(super) fn adopt(&mut self, id: &str) -> bool {
        let Some(call) = self.calls.get_mut(id).filter(|call| !call.is_announced()) else {
            return false;
        };
        let is_it = |known: &AnsweredAction| known.name == call.name() && known.input == call.input;
        let Some(position) = self.expected.iter().position(is_it) else { return false };
        call.adopt(self.expected.remove(position).event_id);
        true
    }

    fn set_leave(&mut self, id: &str, leave: Leave, verdict: Verdict) -> (Verdict, Vec<Produced>) {
        let Some(call) = self.calls.get_mut(id) else { return (verdict, Vec::new()) };
        call.leave = leave;
        // The input of a call that needs nobody may still be to come.
        let is_due = call.is_complete();
        (verdict, if is_due { self.announce(id) } else { Vec::new() })
    }

    /// The call ends here, whatever the harness will say about it.
    fn refuse(&mut self, id: &str, why: String) -> (Verdict, Vec<Produced>) {
        if let Some(call) = self.calls.get_mut(id) {
            let (name, input) = (call.name().to_owned(), call.input.clone());
            self.refused.push(Refused { name, input, why: why.clone() });
            call.leave = Leave::Refused(why);
        }
        (Verdict::Refuse, self.call_ends(id, true))
    }
}

/// What the agent reads as the result of a call that a person denied.
pub(in crate::supervise) fn denied(message: Option<&str>) -> String {
    match message.map(str::trim).filter(|message| !message.is_empty()) {
        Some(message) => message.to_owned(),
        None => DENIED.to_owned(),
    }
}
