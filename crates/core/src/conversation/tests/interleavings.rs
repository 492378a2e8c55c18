//! Anything in any order, held against a small model of what a log may look like.

use proptest::prelude::*;

use super::scene::{Scene, is_call, result_of};
use crate::conversation::*;
use crate::journal::Entry;
use crate::session::ContentBlock;
use crate::turn::ActionKind;

/// What may happen, in any order.
#[derive(Debug, Clone)]
enum Happening {
    Say,
    Interrupt,
    GetReady,
    Start,
    Speak,
    End,
    RepeatBatch,
    StaleBatch,
    Lose { may_retry: bool },
    Undeliverable,
    InterruptUndeliverable,
    AnswerUndeliverable,
    Release,
    Call,
    Return,
    Ask,
    CallClient,
    Answer { deny: bool },
    Resume,
    GiveUpCall,
    UpdateTools,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => Just(Happening::Say),
        1 => Just(Happening::Interrupt),
        3 => Just(Happening::GetReady),
        2 => Just(Happening::Start),
        2 => Just(Happening::Speak),
        3 => Just(Happening::End),
        1 => Just(Happening::RepeatBatch),
        1 => Just(Happening::StaleBatch),
        2 => any::<bool>().prop_map(|may_retry| Happening::Lose { may_retry }),
        1 => Just(Happening::Undeliverable),
        1 => Just(Happening::InterruptUndeliverable),
        1 => Just(Happening::AnswerUndeliverable),
        1 => Just(Happening::Release),
        2 => Just(Happening::Call),
        1 => Just(Happening::Return),
        2 => Just(Happening::Ask),
        1 => Just(Happening::CallClient),
        3 => any::<bool>().prop_map(|deny| Happening::Answer { deny }),
        2 => Just(Happening::Resume),
        1 => Just(Happening::GiveUpCall),
        1 => Just(Happening::UpdateTools),
    ]
}

impl Scene {
    /// Whether there is somebody who can report.
    fn has_sandbox(&self) -> bool {
        let is_starting = self.session.startup.as_ref().is_some_and(Startup::is_under_way);
        self.session.sandbox_id.is_some() || is_starting
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each thing that may happen")]
    fn happen(&mut self, happening: &Happening) {
        let epoch = self.session.epoch;
        let turn = self.open_turns.first().map(|turn| turn.id);
        match (happening, turn) {
            (
                Happening::GetReady
                | Happening::Start
                | Happening::Speak
                | Happening::End
                | Happening::RepeatBatch
                | Happening::Call
                | Happening::Return
                | Happening::Ask
                | Happening::CallClient
                | Happening::Resume
                | Happening::GiveUpCall,
                _,
            ) if !self.has_sandbox() => {
                let entry = Entry::HarnessSession { id: "ghost".to_owned() };
                let batch = vec![NumberedEntry { number: 1, entry }];
                let refused = self
                    .act(|conversation, moment| conversation.take_journal(epoch, batch, moment));
                assert!(refused.is_err(), "without a sandbox nobody may report");
            }
            (Happening::Say, _) => self.say("more"),
            (Happening::Interrupt, _) => self.interrupt(),
            (Happening::GetReady, _) => self.get_ready(),
            (Happening::Start, Some(turn_id)) => self.report(Entry::TurnStarted { turn_id }),
            (Happening::Speak, turn_id) => {
                let content = vec![ContentBlock::text("word")];
                let id = EventId::mint(&self.ids);
                let body = EventBody::AgentMessage { content };
                self.report(Entry::Event { turn_id, id, body });
            }
            (Happening::End, Some(turn_id)) => {
                self.come_to_an_end(turn_id);
            }
            (Happening::RepeatBatch, Some(turn_id)) if self.journal > 0 => {
                let number = self.journal;
                let batch = vec![NumberedEntry { number, entry: Entry::TurnStarted { turn_id } }];
                let before = self.log.len();
                self.act(|conversation, moment| conversation.take_journal(epoch, batch, moment))
                    .unwrap();
                assert_eq!(self.log.len(), before);
            }
            (Happening::StaleBatch, Some(turn_id)) => {
                let stale = Epoch(epoch.0.saturating_sub(1));
                let entry = Entry::TurnStarted { turn_id };
                let batch = vec![NumberedEntry { number: 1, entry }];
                let refused = self
                    .act(|conversation, moment| conversation.take_journal(stale, batch, moment));
                assert!(refused.is_err());
            }
            (Happening::Lose { may_retry }, _) => self.lose(*may_retry),
            (Happening::Undeliverable, Some(turn)) => {
                let unfinished = self.unfinished();
                self.act(|conversation, moment| {
                    conversation.turn_undeliverable(epoch, turn, unfinished, moment);
                });
            }
            (Happening::InterruptUndeliverable, Some(turn)) => {
                let unfinished = self.unfinished();
                self.act(|conversation, moment| {
                    conversation.interrupt_undeliverable(epoch, turn, unfinished, moment);
                });
            }
            (Happening::AnswerUndeliverable, Some(turn)) => {
                self.act(|conversation, _| conversation.answer_undeliverable(epoch, turn));
            }
            (Happening::Release, _) if self.session.sandbox_id.is_some() => {
                let _busy = self.release();
            }
            (Happening::Call, Some(_)) => {
                self.call_freely();
            }
            (Happening::Return, Some(turn_id)) => {
                let actions = &self.open_turns[0].actions;
                let waits = |call: &EventId| actions.iter().any(|one| one.event_id == *call);
                let running = self.unfinished().calls.into_iter().find(|call| !waits(call));
                if let Some(call) = running {
                    self.give_result(turn_id, call);
                }
            }
            (Happening::Ask, Some(_)) => {
                self.ask();
            }
            (Happening::CallClient, Some(_)) => {
                self.call_client();
            }
            (Happening::Answer { deny }, Some(_)) => {
                let waiting = self.open_turns[0].actions.iter().find(|one| one.answer.is_none());
                let Some(action) = waiting.cloned() else { return };
                match action.kind {
                    ActionKind::Confirmation if *deny => self.confirm(action.event_id, "deny"),
                    ActionKind::Confirmation => self.confirm(action.event_id, "allow"),
                    ActionKind::CustomTool => self.answer_client_call(action.event_id),
                }
                .unwrap();
            }
            (Happening::Resume, Some(turn_id)) => {
                let answered = self.open_turns[0].actions.iter().find(|one| one.answer.is_some());
                let Some(event_id) = answered.map(|action| action.event_id) else { return };
                self.report(Entry::ActionResumed { turn_id, event_id });
            }
            (Happening::GiveUpCall, Some(turn_id)) => {
                let Some(action) = self.open_turns[0].actions.first().cloned() else { return };
                self.give_result(turn_id, action.event_id);
            }
            (Happening::UpdateTools, None) => {
                let (name, description) = (format!("tool-{}", self.log.len()), String::new());
                let input_schema = serde_json::json!({"type": "object"});
                let tool = crate::agent::Tool::Custom { name, description, input_schema };
                let patch = SessionPatch { tools: Some(vec![tool]), ..SessionPatch::default() };
                self.act(|conversation, moment| conversation.update(patch, moment)).unwrap();
            }
            (
                Happening::Start
                | Happening::End
                | Happening::RepeatBatch
                | Happening::StaleBatch
                | Happening::Undeliverable
                | Happening::InterruptUndeliverable
                | Happening::AnswerUndeliverable
                | Happening::Release
                | Happening::Call
                | Happening::Return
                | Happening::Ask
                | Happening::CallClient
                | Happening::Answer { .. }
                | Happening::Resume
                | Happening::GiveUpCall
                | Happening::UpdateTools,
                _,
            ) => {}
        }
    }

    /// As sandbox-agent does, which leaves no call of its own open.
    fn come_to_an_end(&mut self, turn: TurnId) {
        for call in self.unfinished().calls {
            self.give_result(turn, call);
        }
        self.end(turn);
    }

    fn check(&self) {
        let numbers: Vec<i64> = self.log.iter().map(|event| event.number).collect();
        let expected: Vec<i64> = (1..=self.session.last_event).collect();
        assert_eq!(numbers, expected, "numbers have no gaps and no repeats");
        let messages = self.types().iter().filter(|kind| **kind == "user.message").count();
        let ends = self.log.iter().filter(|event| event.body.is_end_of_turn()).count();
        assert_eq!(messages, ends + self.open_turns.len(), "every turn ends with one event");
        let is_idle = self.session.status == SessionStatus::Idle;
        let first = self.open_turns.first();
        let stands_still = first.is_none_or(Turn::is_waiting);
        assert_eq!(is_idle, stands_still, "a session is idle when no turn is at work");
        let waits = first.is_some_and(|turn| !turn.unanswered().is_empty());
        assert_eq!(waits, first.is_some_and(Turn::is_waiting), "a turn waits for answers alone");
        let asked: Vec<EventId> = first.map(Turn::unanswered).unwrap_or_default();
        let results = self.log.iter().filter_map(|event| result_of(&event.body));
        let results: Vec<EventId> = results.collect();
        let distinct: std::collections::BTreeSet<_> = results.iter().collect();
        assert_eq!(distinct.len(), results.len(), "a call has one result");
        assert!(asked.iter().all(|call| !results.contains(call)), "what waits has no result");
        let is_open =
            |turn: Option<TurnId>| self.open_turns.iter().any(|open| Some(open.id) == turn);
        for call in self.log.iter().filter(|event| is_call(&event.body) && !is_open(event.turn_id))
        {
            assert!(results.contains(&call.id), "a call has its result when its turn ends");
        }
        assert_eq!(is_idle, self.session.idle_since.is_some());
        let handed_out = self.open_turns.iter().skip(1).all(|turn| turn.state == TurnState::Queued);
        assert!(handed_out, "one turn at a time");
        if !is_idle && self.session.sandbox_id.is_none() {
            let startup = self.session.startup.as_ref().unwrap();
            assert!(startup.is_under_way(), "work that waits has a sandbox on its way");
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_the_log_stays_true(happenings in prop::collection::vec(happening(), 0..60)) {
        let mut scene = Scene::opened();
        for happening in &happenings {
            scene.happen(happening);
            scene.check();
        }
        // Left alone with a sandbox that works, every session comes to rest.
        for _ in 0..=happenings.len() {
            while let Some(call) = scene.open_turns.first().and_then(|turn| turn.unanswered().first().copied()) {
                if scene.confirm(call, "allow").is_err() {
                    scene.answer_client_call(call).unwrap();
                }
            }
            if let Some(turn) = scene.open_turns.first().map(|turn| turn.id) {
                scene.get_ready();
                scene.report(Entry::TurnStarted { turn_id: turn });
                scene.come_to_an_end(turn);
            }
        }
        scene.check();
        prop_assert!(scene.open_turns.is_empty());
    }
}
