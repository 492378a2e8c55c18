//! Turns what a harness tells about its work into previews and journal entries. Pure: identifiers are the only argument it draws from.

mod call;
mod leave;
mod text;

use std::collections::{HashMap, HashSet};

use platform_core::clock::IdSource;
use platform_core::id::{EventId, Id, TurnId};
use platform_core::journal::Entry;
use platform_core::session::{ContentBlock, EventBody};
use platform_core::turn::AnsweredAction;
use platform_messaging::proto::link::Preview;
use serde_json::{Map, Value};

use self::call::Call;
use self::text::{OpenText, TextKind};
use super::acp::{Chunk, ToolCall, ToolCallStatus, Update};
use super::policy::Policy;

pub(super) use self::leave::{Refused, Verdict, denied};

/// One thing to tell: at once and for the moment, or for good.
#[derive(Debug, PartialEq)]
pub(super) enum Produced {
    Preview(Preview),
    Entry(Entry),
}

/// The translation of one turn.
pub(super) struct Translation<'turn> {
    turn: TurnId,
    ids: &'turn dyn IdSource,
    policy: &'turn Policy,
    text: Option<OpenText>,
    /// Calls under way, by the harness's own id. That id is unique at most within a turn, so the log gets one of ours.
    calls: HashMap<String, Call>,
    /// In the order they began, for closing what is left over.
    order: Vec<String>,
    finished: HashSet<String>,
    has_answered: bool,
    /// Calls of an earlier sandbox that were allowed since: the harness was told to make them again.
    expected: Vec<AnsweredAction>,
    /// Calls that were refused and that the harness was not told the reason of.
    refused: Vec<Refused>,
}

impl<'turn> Translation<'turn> {
    pub(super) fn new(turn: TurnId, ids: &'turn dyn IdSource, policy: &'turn Policy) -> Self {
        Self {
            turn,
            ids,
            policy,
            text: None,
            calls: HashMap::new(),
            order: Vec::new(),
            finished: HashSet::new(),
            has_answered: false,
            expected: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// Whether the harness said or did anything in this turn.
    pub(super) fn has_answered(&self) -> bool {
        self.has_answered
    }

    pub(super) fn update(&mut self, update: Update) -> Vec<Produced> {
        match update {
            Update::AgentMessageChunk(chunk) => self.text(TextKind::Message, &chunk),
            Update::AgentThoughtChunk(chunk) => self.text(TextKind::Thinking, &chunk),
            Update::ToolCall(call) => self.call_begins(&call),
            Update::ToolCallChanged(call) => self.call_goes_on(&call),
            Update::UserMessageChunk(_) | Update::Other => Vec::new(),
        }
    }

    /// Whether the harness has told of a call that it makes of one of the client's tools, so that everything before it is known too.
    pub(super) fn has_told_of(&mut self, name: &str, input: &Map<String, Value>) -> bool {
        let is_it = |call: &&mut Call| {
            let own = self.policy.custom_tool(call.name());
            own == Some(name) && call.input == *input && !call.is_the_client_s
        };
        let call = self.calls.values_mut().find(is_it);
        call.map(|call| call.is_the_client_s = true).is_some()
    }

    /// The harness calls one of the client's tools. Answers the event of the call as well.
    pub(super) fn custom_called(
        &mut self,
        name: String,
        input: Map<String, Value>,
    ) -> (EventId, Vec<Produced>) {
        self.has_answered = true;
        let mut produced = self.finish_text();
        let id = self.mint();
        produced.push(self.event(id, EventBody::AgentCustomToolUse { name, input }));
        (id, produced)
    }

    /// The harness no longer waits for the client: a call that it gave up ends as failed.
    pub(super) fn custom_given_up(&self, call: EventId) -> Produced {
        let content = vec![ContentBlock::text("the agent no longer waits for this call")];
        let body = EventBody::AgentToolResult { tool_use_id: call, content, is_error: true };
        self.event(self.mint(), body)
    }

    /// Nothing more will come: finishes the text that is open, and closes calls without an end as failed, in these words.
    pub(super) fn close(&mut self, why: &str) -> Vec<Produced> {
        let mut produced = self.finish_text();
        for id in std::mem::take(&mut self.order) {
            produced.extend(self.announce(&id));
            if let Some(call) = self.calls.remove(&id).filter(Call::is_announced) {
                produced.push(self.event(self.mint(), call.result_of_broken_off(why)));
            }
        }
        produced
    }

    fn text(&mut self, kind: TextKind, chunk: &Chunk) -> Vec<Produced> {
        let text = chunk.text();
        if text.is_empty() {
            return Vec::new();
        }
        self.has_answered = true;
        let mut produced = Vec::new();
        if self.text.as_ref().is_some_and(|open| !open.takes(kind, chunk.message_id.as_deref())) {
            produced = self.finish_text();
        }
        if self.text.is_none() {
            let open = OpenText::begin(self.mint(), kind, chunk.message_id.clone());
            produced.push(Produced::Preview(open.announcement()));
            self.text = Some(open);
        }
        if let Some(open) = &mut self.text {
            produced.push(Produced::Preview(open.push(text)));
        }
        produced
    }

    /// The text that is open, as a whole.
    pub(super) fn repeat_text(&mut self, anyway: bool) -> Option<Preview> {
        self.text.as_mut().and_then(|text| text.repeat(anyway))
    }

    fn finish_text(&mut self) -> Vec<Produced> {
        let open = self.text.take();
        open.map(|open| self.event(open.id, open.into_event())).into_iter().collect()
    }

    fn call_begins(&mut self, call: &ToolCall) -> Vec<Produced> {
        let produced = self.finish_text();
        self.finished.remove(&call.id);
        produced.into_iter().chain(self.call_goes_on(call)).collect()
    }

    fn call_goes_on(&mut self, call: &ToolCall) -> Vec<Produced> {
        let Some(known) = self.call(call) else { return Vec::new() };
        known.learn(call);
        match call.status {
            Some(ToolCallStatus::Pending) | None => Vec::new(),
            // A call in progress without any input is one whose input is still to come.
            Some(ToolCallStatus::InProgress) if !known.is_complete() => Vec::new(),
            Some(ToolCallStatus::InProgress) => self.announce_if_free(&call.id),
            Some(ToolCallStatus::Completed) => self.call_ends(&call.id, false),
            Some(ToolCallStatus::Failed) => self.call_ends(&call.id, true),
        }
    }

    /// The call that is meant; a new one if it is not known. `None` for one that has ended: harnesses repeat themselves.
    fn call(&mut self, call: &ToolCall) -> Option<&mut Call> {
        let id = &call.id;
        if self.finished.contains(id) {
            return None;
        }
        self.has_answered = true;
        if !self.calls.contains_key(id) {
            let call = Call::begin(self.mint());
            self.calls.insert(id.clone(), call);
            self.order.push(id.clone());
        }
        self.calls.get_mut(id)
    }

    /// Writes the call down, once. One that is the client's has an event of its own.
    fn announce(&mut self, id: &str) -> Vec<Produced> {
        self.adopt(id);
        let call =
            self.calls.get_mut(id).filter(|call| self.policy.custom_tool(call.name()).is_none());
        let announced = call.and_then(Call::announce);
        announced.map(|(id, body)| self.event(id, body)).into_iter().collect()
    }

    fn call_ends(&mut self, id: &str, is_error: bool) -> Vec<Produced> {
        let mut produced = self.announce(id);
        if let Some(call) = self.calls.remove(id) {
            self.order.retain(|open| open != id);
            self.finished.insert(id.to_owned());
            if call.is_announced() {
                produced.push(self.event(self.mint(), call.into_result(is_error)));
            }
        }
        produced
    }

    fn event(&self, id: EventId, body: EventBody) -> Produced {
        Produced::Entry(Entry::Event { turn_id: Some(self.turn), id, body })
    }

    fn mint(&self) -> EventId {
        Id::mint(self.ids)
    }
}

#[cfg(test)]
mod tests;
