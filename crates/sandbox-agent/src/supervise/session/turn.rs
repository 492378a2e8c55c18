//! One turn: the prompt goes in, and whatever happens, exactly one end comes out.

mod asks;
mod customs;
mod end;
mod round;

use platform_core::id::TurnId;
use platform_core::journal::Entry;
use platform_core::session::{ContentBlock, EventBody};
use platform_core::turn::{ActionAnswer, ActionKind, StopReason};
use serde_json::Value;

use self::end::{End, Remains};
use self::round::Round;
use super::{Session, Supervision, prompt, reminder};
use crate::supervise::command::TurnOrder;
use crate::supervise::failure::Failure;
use crate::supervise::harness::Harness;
use crate::supervise::link::Link;
use crate::supervise::translate::{Produced, Translation, denied};

impl Supervision {
    pub(super) async fn turn(
        &mut self,
        session: &mut Session,
        order: TurnOrder,
    ) -> Result<(), Failure> {
        let Some(mut harness) = session.harness.take() else { return Ok(()) };
        let turn = order.turn_id;
        let mut blocks = session.prompt_for(&order, harness.takes_images);
        // On disk before the harness has it: the next sandbox must know that this prompt may have been carried out.
        session.journal.append_durably(&Entry::TurnStarted { turn_id: turn }).await?;

        let (ids, policy) = (self.ids.clone(), session.launch.policy.clone());
        let mut translation = Translation::new(turn, &*ids, &policy);
        self.take_up_answers(session, &order, &mut translation).await?;
        let mut answered = order.answers.iter().map(|action| action.event_id).collect();
        let end = loop {
            let prompt = std::mem::take(&mut blocks);
            let answered = std::mem::take(&mut answered);
            let end = self
                .prompt(session, &mut harness, &order, prompt, answered, &mut translation)
                .await?;
            // Harnesses end their turn when a call is refused, without a word to the agent of why.
            let refused = translation.take_refused();
            if refused.is_empty() || !end.is_the_agent_s {
                break end;
            }
            blocks = vec![prompt::text(reminder::refusals(turn, &refused))];
        };
        session.end_turn(turn, end.reason, end.message).await?;

        match end.harness {
            Remains::Usable => session.harness = Some(harness),
            Remains::Stuck => {
                harness.kill(&self.room).await?;
                self.restart(session).await?;
            }
            Remains::Gone => {
                // What it started may have outlived it.
                self.room.signal_everything(nix::sys::signal::Signal::SIGKILL).await?;
                self.restart(session).await?;
            }
        }
        Ok(())
    }

    /// Gives the harness one prompt and follows what it does until it ends, or is ended.
    async fn prompt(
        &mut self,
        session: &Session,
        harness: &mut Harness,
        order: &TurnOrder,
        blocks: Vec<Value>,
        answered: Vec<platform_core::id::EventId>,
        translation: &mut Translation<'_>,
    ) -> Result<End, Failure> {
        let turn = Some(order.turn_id);
        let start = EventBody::SpanModelRequestStart {};
        let span = session.event(&*self.ids, turn, start).await?;
        let round = Round::begin(self, session, harness, order, translation, blocks).await?;
        // From here on the harness has the answers.
        for event_id in answered {
            let resumed = Entry::ActionResumed { turn_id: order.turn_id, event_id };
            session.journal.append(&resumed).await?;
        }
        let end = round.follow().await?;
        let why = format!("the turn ended before this call did: {}", end.reason);
        tell(session, &self.link, translation.close(&why)).await?;
        let body = EventBody::SpanModelRequestEnd {
            model_request_start_id: span,
            is_error: end.reason.is_error(),
            model_usage: end.usage,
        };
        session.event(&*self.ids, turn, body).await?;
        Ok(end)
    }

    /// Calls of an earlier sandbox: the denied ones end here, the allowed ones will be made by this harness.
    async fn take_up_answers(
        &self,
        session: &Session,
        order: &TurnOrder,
        translation: &mut Translation<'_>,
    ) -> Result<(), Failure> {
        for action in order.answers.iter().filter(|action| action.kind == ActionKind::Confirmation)
        {
            let ActionAnswer::Deny { message } = &action.answer else { continue };
            let body = EventBody::AgentToolResult {
                tool_use_id: action.event_id,
                content: vec![ContentBlock::text(denied(message.as_deref()))],
                is_error: true,
            };
            session.event(&*self.ids, Some(order.turn_id), body).await?;
        }
        let is_allowed = |action: &&platform_core::turn::AnsweredAction| {
            action.kind == ActionKind::Confirmation && action.answer == ActionAnswer::Allow
        };
        translation.expect(order.answers.iter().filter(is_allowed).cloned());
        Ok(())
    }
}

impl Session {
    /// What the harness gets for this turn. A turn that is taken up again is not started again if the harness has its prompt: what it
    /// did must not be done twice, so in doubt it is told to look and continue.
    fn prompt_for(&mut self, order: &TurnOrder, takes_images: bool) -> Vec<Value> {
        let turn = order.turn_id;
        let last = self.last_prompt.take();
        let may_have_started = order.attempt > 1
            && self.started_before.as_ref().is_none_or(|turns| turns.contains(&turn));
        if may_have_started && last.is_some_and(|last| prompt::is_known(turn, &order.prompt, &last))
        {
            return vec![prompt::text(reminder::continuation(turn, &order.answers))];
        }
        let history = std::mem::take(&mut self.history);
        let answers = reminder::answers(turn, &order.answers);
        prompt::compose(&order.prompt, &history, answers, takes_images)
    }

    /// Writes the end of the turn down; there is exactly one.
    pub(super) async fn end_turn(
        &mut self,
        turn_id: TurnId,
        stop_reason: StopReason,
        message: Option<String>,
    ) -> Result<(), Failure> {
        if self.ended.insert(turn_id) {
            let entry = Entry::TurnEnded { turn_id, stop_reason, message };
            self.journal.append(&entry).await?;
        }
        Ok(())
    }
}

async fn tell(session: &Session, link: &Link, produced: Vec<Produced>) -> Result<(), Failure> {
    for produced in produced {
        match produced {
            Produced::Preview(preview) => link.preview(preview),
            Produced::Entry(entry) => session.journal.append(&entry).await?,
        }
    }
    Ok(())
}
