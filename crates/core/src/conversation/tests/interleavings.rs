//! Anything in any order, held against a small model of what a log may look like.

use proptest::prelude::*;

use super::scene::Scene;
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
                let stop_reason = StopReason::EndTurn;
                self.report(Entry::TurnEnded { turn_id, stop_reason, message: None });
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
                self.act(|conversation, moment| {
                    conversation.turn_undeliverable(epoch, turn, moment);
                });
            }
            (Happening::InterruptUndeliverable, Some(turn)) => {
                let nothing = Unfinished::default();
                self.act(|conversation, moment| {
                    conversation.interrupt_undeliverable(epoch, turn, nothing, moment);
                });
            }
            (Happening::AnswerUndeliverable, Some(turn)) => {
                self.act(|conversation, _| conversation.answer_undeliverable(epoch, turn));
            }
            (Happening::Release, _) if self.session.sandbox_id.is_some() => {
                let _busy = self.release();
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
                let id = EventId::mint(&self.ids);
                let tool_use_id = action.event_id;
                let body =
                    EventBody::AgentToolResult { tool_use_id, content: Vec::new(), is_error: true };
                self.report(Entry::Event { turn_id: Some(turn_id), id, body });
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
        assert_eq!(is_idle, self.session.idle_since.is_some());
        let handed_out = self.open_turns.iter().skip(1).all(|turn| turn.state == TurnState::Queued);
        assert!(handed_out, "one turn at a time");
        if !is_idle && self.session.sandbox_id.is_none() {
            let startup = self.session.startup.as_ref().unwrap();
            assert!(startup.is_under_way(), "work that waits has a sandbox on its way");
        }
    }
}

/// The call whose result it is.
fn result_of(body: &EventBody) -> Option<EventId> {
    if let EventBody::AgentToolResult { tool_use_id, .. } = body {
        Some(*tool_use_id)
    } else {
        None
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
                scene.report(Entry::TurnEnded { turn_id: turn, stop_reason: StopReason::EndTurn, message: None });
            }
        }
        scene.check();
        prop_assert!(scene.open_turns.is_empty());
    }
}
