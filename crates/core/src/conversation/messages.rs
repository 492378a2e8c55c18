//! What a client sends into a session.

use super::{
    ClientEvent, Conversation, EventBody, Moment, Outgoing, Refusal, StopReason, Turn, TurnId,
    TurnState,
};

/// Where a client's event came to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    pub number: i64,
    /// The turn that the event opened.
    pub turn: Option<TurnId>,
}

impl Conversation {
    /// Takes a client's events into the log, all or none: a message opens a turn, an interrupt ends the one under way.
    pub fn send(
        &mut self,
        events: Vec<ClientEvent>,
        moment: Moment<'_>,
    ) -> Result<Vec<Taken>, Refusal> {
        self.refuse_ended()?;
        if let Some(event) = events.iter().find(|event| !is_taken(&event.body)) {
            return Err(Refusal::ForbiddenEvent(event.body.type_name()));
        }
        let mut taken = Vec::with_capacity(events.len());
        for event in events {
            if matches!(event.body, EventBody::UserInterrupt {}) {
                let under_way = self.open_turns.first().map(|turn| turn.id);
                let number = self.append_as(event.id, under_way, event.body, moment);
                taken.push(Taken { number, turn: None });
                self.interrupt(moment);
            } else {
                taken.push(self.open_turn(event, moment));
            }
            self.advance(moment);
        }
        Ok(taken)
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
            created_at: moment.now,
            started_at: None,
        };
        self.open_turns.push(turn.clone());
        self.note_turn(turn);
        Taken { number, turn: Some(id) }
    }

    /// Stops the turn under way. One that no sandbox has yet ends at once; else the sandbox ends it.
    fn interrupt(&mut self, moment: Moment<'_>) {
        let Some(turn) = self.open_turns.first() else {
            return;
        };
        let id = turn.id;
        let has_sandbox = match turn.state {
            TurnState::Dispatched { epoch } | TurnState::Running { epoch } => {
                epoch == self.session.epoch
            }
            TurnState::Queued | TurnState::Ended { .. } => false,
        };
        match self.session.sandbox_id {
            Some(sandbox) if has_sandbox => self.changes.outgoing.push(Outgoing::InterruptTurn {
                sandbox,
                epoch: self.session.epoch,
                turn: id,
            }),
            Some(_) | None => self.end_turn(id, StopReason::Interrupted, None, moment),
        }
    }
}

fn is_taken(body: &EventBody) -> bool {
    matches!(body, EventBody::UserMessage { .. } | EventBody::UserInterrupt {})
}
