//! A new session that goes on from an earlier point of another; that one is left as it is.

use std::collections::BTreeSet;

use crate::id::{SecretId, SessionId, TurnId};
use crate::sandbox::Epoch;
use crate::session::{ForkedFrom, Session, Usage};
use crate::variable::{Variable, Variables};

use super::{
    BTreeMap, Conversation, EventBody, Moment, SessionStatus, StopReason, Turn, TurnState,
    Unfinished,
};

/// What the log of the other session says about the point.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForkPoint {
    /// The number of the last event that is taken over.
    pub at_event: i64,
    /// Turns whose end is among the events taken over.
    pub ended: BTreeSet<TurnId>,
    /// The last turn of which the agent's work is among them.
    pub last_at_work: Option<TurnId>,
    /// What that turn had begun there and not ended.
    pub unfinished: Unfinished,
}

/// The title and such of the new session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForkDescription {
    pub context: Option<String>,
    pub title: Option<String>,
    pub metadata: BTreeMap<String, String>,
}

/// A new session as it begins. Events up to [`ForkedFrom::at_event`] still have to be copied from the other session.
pub struct Fork {
    pub conversation: Conversation,
    /// The turns of the events to copy: what they are called there, and here.
    pub turns: Vec<(TurnId, TurnId)>,
    /// The secrets to copy, in the same way.
    pub secrets: Vec<(SecretId, SecretId)>,
}

/// The fork's variables, and which secrets have to be copied for them: those of a session go with it, and its fork outlives it.
fn copied_variables(
    source: &Session,
    moment: Moment<'_>,
) -> (Variables, Vec<(SecretId, SecretId)>) {
    let mut variables = source.environment_variables.clone();
    let mut copies = Vec::new();
    for variable in variables.values_mut() {
        match variable {
            Variable::Plain { .. } => {}
            Variable::Secret { secret_id, .. } => {
                let copy = SecretId::mint(moment.ids);
                copies.push((std::mem::replace(secret_id, copy), copy));
            }
        }
    }
    (variables, copies)
}

impl Conversation {
    /// Begins a session with the transcript of `source` up to a point, and the files and the harness's memory as they were at the end
    /// of the turn of that point.
    ///
    /// `turns` are all turns of the source whose message is taken over. One whose end is not ends here as interrupted: nothing that
    /// was asked of the source is done again by its fork.
    pub fn fork(
        source: &Session,
        id: SessionId,
        description: ForkDescription,
        turns: Vec<Turn>,
        point: &ForkPoint,
        moment: Moment<'_>,
    ) -> Fork {
        let turn_id = files_of(&turns, point);
        let (environment_variables, secrets) = copied_variables(source, moment);
        let session = Session {
            id,
            context: description.context,
            title: description.title,
            metadata: description.metadata,
            status: SessionStatus::Idle,
            epoch: Epoch::NONE,
            sandbox_id: None,
            startup: None,
            harness_session: source.harness_session.clone().filter(|_| turn_id.is_some()),
            last_event: point.at_event,
            journal_through: 0,
            former_journal: None,
            usage: Usage::default(),
            environment_variables,
            forked_from: Some(ForkedFrom {
                session_id: source.id,
                at_event: point.at_event,
                turn_id,
            }),
            created_at: moment.now,
            updated_at: moment.now,
            idle_since: Some(moment.now),
            archived_at: None,
            ..source.clone()
        };
        let mut conversation = Self::resume(session, Vec::new(), 0);
        let mut renamed = Vec::with_capacity(turns.len());
        for turn in turns {
            let copied = TurnId::mint(moment.ids);
            renamed.push((turn.id, copied));
            conversation.take_over(turn, copied, point, moment);
        }
        conversation.provision(1, moment);
        Fork { conversation, turns: renamed, secrets }
    }

    fn take_over(&mut self, turn: Turn, id: TurnId, point: &ForkPoint, moment: Moment<'_>) {
        self.last_ordinal = turn.ordinal;
        if point.ended.contains(&turn.id) {
            let copied = Turn { id, actions: Vec::new(), interrupt_requested: false, ..turn };
            self.changes.turns.insert(copied.ordinal, copied);
            return;
        }
        if point.last_at_work == Some(turn.id) {
            self.close_unfinished(id, point.unfinished.clone(), moment);
        }
        let ended = TurnState::Ended { reason: StopReason::Interrupted, at: moment.now };
        let copied = Turn {
            id,
            state: ended,
            actions: Vec::new(),
            interrupt_requested: false,
            started_at: turn.started_at.or(Some(moment.now)),
            ..turn
        };
        self.changes.turns.insert(copied.ordinal, copied);
        let body = EventBody::SessionStatusIdle { stop_reason: StopReason::Interrupted.into() };
        self.append(Some(id), body, moment);
    }
}

/// The last turn at work by then that has ended, there or later: at a turn's end files are kept.
fn files_of(turns: &[Turn], point: &ForkPoint) -> Option<TurnId> {
    let last = turns.iter().position(|turn| Some(turn.id) == point.last_at_work)?;
    let begun = turns.get(..=last)?;
    let has_ended = |turn: &&Turn| matches!(turn.state, TurnState::Ended { .. });
    begun.iter().rev().find(has_ended).map(|turn| turn.id)
}
