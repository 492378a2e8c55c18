//! What a sandbox reports of its work.

use crate::id::EventId;
use crate::journal::Entry;
use crate::sandbox::Epoch;

use super::{Conversation, EventBody, Moment, Refusal, TurnId, TurnState};

/// A journal entry with its number, which counts from 1 in each epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct NumberedEntry {
    pub number: u64,
    pub entry: Entry,
}

impl Conversation {
    /// Takes a batch of the journal into the log and answers how far the journal now is committed.
    ///
    /// A batch that comes twice changes nothing. One of a stale epoch, with a hole before it, or with an entry that no sandbox may write
    /// is refused whole.
    pub fn take_journal(
        &mut self,
        epoch: Epoch,
        batch: Vec<NumberedEntry>,
        moment: Moment<'_>,
    ) -> Result<u64, Refusal> {
        self.refuse_stale(epoch)?;
        let fresh = self.fresh_entries(batch)?;
        for NumberedEntry { number, entry } in fresh {
            self.session.journal_through = number;
            self.take_entry(epoch, entry, moment);
        }
        let through = self.session.journal_through;
        self.advance(moment);
        Ok(through)
    }

    fn fresh_entries(&self, batch: Vec<NumberedEntry>) -> Result<Vec<NumberedEntry>, Refusal> {
        let mut expected = self.session.journal_through + 1;
        let mut fresh = Vec::with_capacity(batch.len());
        for numbered in batch {
            if numbered.number < expected {
                continue;
            }
            if numbered.number > expected {
                return Err(Refusal::JournalGap { given: numbered.number, expected });
            }
            if let Entry::Event { body, .. } = &numbered.entry
                && !numbered.entry.is_allowed()
            {
                return Err(Refusal::ForbiddenEntry(body.type_name()));
            }
            expected += 1;
            fresh.push(numbered);
        }
        Ok(fresh)
    }

    fn take_entry(&mut self, epoch: Epoch, entry: Entry, moment: Moment<'_>) {
        match entry {
            Entry::TurnStarted { turn_id } => self.start_turn(epoch, turn_id),
            Entry::Event { turn_id, id, body } => self.take_event(turn_id, id, body, moment),
            Entry::ActionResumed { turn_id, event_id } => self.resume_action(turn_id, event_id),
            Entry::TurnEnded { turn_id, stop_reason, message } => {
                if self.stopped_for_money(turn_id, stop_reason) {
                    self.hold_turn(turn_id);
                } else {
                    self.end_turn(turn_id, stop_reason, message, moment);
                }
            }
            Entry::HarnessSession { id } => self.session.harness_session = Some(id),
        }
    }

    fn take_event(
        &mut self,
        turn: Option<TurnId>,
        id: EventId,
        body: EventBody,
        moment: Moment<'_>,
    ) {
        if turn.is_some_and(|turn| self.open_turns.iter().all(|open| open.id != turn)) {
            // Of the end of a lost sandbox's journal, and too late: that turn's end is in the log.
            return;
        }
        let required = body.required_action();
        let ended_call = if let EventBody::AgentToolResult { tool_use_id, .. } = &body {
            Some(*tool_use_id)
        } else {
            None
        };
        self.append_as(id, turn, body, moment);
        let Some(turn) = turn else { return };
        if let Some(kind) = required {
            self.require_action(turn, id, kind, moment);
        }
        if let Some(call) = ended_call {
            self.drop_action(turn, call, moment);
        }
    }

    fn start_turn(&mut self, epoch: Epoch, id: TurnId) {
        let Some(mut turn) = self.open_turns.iter().find(|turn| turn.id == id).cloned() else {
            return;
        };
        if turn.state == (TurnState::Dispatched { epoch }) {
            turn.state = TurnState::Running { epoch };
            self.note_turn(turn);
        }
    }
}
