//! Sentences about conversations, and random interleavings held against what every log must look like.

use std::sync::atomic::{AtomicU64, Ordering};

use chrono::DateTime;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::agent::{AgentDefinition, AgentSnapshot, Effort, ExecutionIdentity, Model};
use crate::harness::HarnessName;
use crate::id::{AgentId, EnvironmentId, SessionId, TeamId};
use crate::journal::Entry;
use crate::sandbox::StartupPhase;
use crate::session::{ContentBlock, Usage};

/// Ids 1, 2, 3 …
#[derive(Default)]
struct Counted(AtomicU64);

impl IdSource for Counted {
    fn uuid(&self) -> Uuid {
        Uuid::from_u128(u128::from(self.0.fetch_add(1, Ordering::Relaxed)) + 1)
    }
}

/// A conversation under test, with the log and the messages that came of it so far.
struct Scene {
    ids: Counted,
    session: Session,
    open_turns: Vec<Turn>,
    last_ordinal: i64,
    log: Vec<Event>,
    sent: Vec<Outgoing>,
    journal: u64,
}

impl Scene {
    fn opened() -> Self {
        let ids = Counted::default();
        let now = DateTime::UNIX_EPOCH;
        let session = blank_session(&ids);
        let conversation = Conversation::begin(session, Moment { now, ids: &ids });
        let (session, changes) = conversation.into_parts();
        let mut scene = Self {
            ids: Counted(AtomicU64::new(1000)),
            session,
            open_turns: Vec::new(),
            last_ordinal: 0,
            log: Vec::new(),
            sent: Vec::new(),
            journal: 0,
        };
        scene.keep(changes);
        scene
    }

    fn ready() -> Self {
        let mut scene = Self::opened();
        scene.get_ready();
        scene
    }

    /// Resumes the stored session, lets `happen` happen, and stores what came of it: as a service does for each command.
    fn act<T>(&mut self, happen: impl FnOnce(&mut Conversation, Moment<'_>) -> T) -> T {
        let mut conversation =
            Conversation::resume(self.session.clone(), self.open_turns.clone(), self.last_ordinal);
        let now = DateTime::UNIX_EPOCH;
        let result = happen(&mut conversation, Moment { now, ids: &self.ids });
        let (session, changes) = conversation.into_parts();
        if session.epoch != self.session.epoch {
            self.journal = 0;
        }
        self.session = session;
        self.keep(changes);
        result
    }

    fn keep(&mut self, changes: Changes) {
        for (ordinal, turn) in changes.turns {
            self.last_ordinal = self.last_ordinal.max(ordinal);
            self.open_turns.retain(|open| open.id != turn.id);
            if !matches!(turn.state, TurnState::Ended { .. }) {
                self.open_turns.push(turn);
            }
        }
        self.open_turns.sort_by_key(|turn| turn.ordinal);
        self.log.extend(changes.events);
        self.sent.extend(changes.outgoing);
    }

    fn get_ready(&mut self) {
        let epoch = self.session.epoch;
        let sandbox = SandboxId::from_uuid(Uuid::from_u128(900 + u128::from(epoch.0)));
        let report = PhaseReport {
            epoch,
            sandbox: Some(sandbox),
            phase: StartupPhase::Ready,
            detail: String::new(),
            spawn_mode: None,
            reached_at: DateTime::UNIX_EPOCH,
        };
        self.act(|conversation, moment| conversation.report_startup(report, moment)).unwrap();
    }

    fn say(&mut self, text: &str) {
        let body = EventBody::UserMessage { content: vec![ContentBlock::text(text)] };
        let id = EventId::mint(&self.ids);
        self.act(|conversation, moment| conversation.send(vec![ClientEvent { id, body }], moment))
            .unwrap();
    }

    fn interrupt(&mut self) {
        let id = EventId::mint(&self.ids);
        let body = EventBody::UserInterrupt {};
        self.act(|conversation, moment| conversation.send(vec![ClientEvent { id, body }], moment))
            .unwrap();
    }

    fn report(&mut self, entry: Entry) {
        self.journal += 1;
        let (epoch, number) = (self.session.epoch, self.journal);
        let batch = vec![NumberedEntry { number, entry }];
        self.act(|conversation, moment| conversation.take_journal(epoch, batch, moment)).unwrap();
    }

    fn lose(&mut self, may_retry: bool) {
        self.lose_with(may_retry, Unfinished::default());
    }

    fn lose_with(&mut self, may_retry: bool, unfinished: Unfinished) {
        let loss = Loss {
            epoch: self.session.epoch,
            reason: "exited".to_owned(),
            message: "the process ended".to_owned(),
            may_retry,
            unfinished,
        };
        self.act(|conversation, moment| conversation.lose_sandbox(loss, moment));
    }

    fn current_turn(&self) -> TurnId {
        self.open_turns[0].id
    }

    fn types(&self) -> Vec<&'static str> {
        self.log.iter().map(|event| event.body.type_name()).collect()
    }

    fn starts_of(&self, turn: TurnId) -> usize {
        let is_start = |outgoing: &&Outgoing| matches!(outgoing, Outgoing::StartTurn { turn: started, .. } if started.id == turn);
        self.sent.iter().filter(is_start).count()
    }
}

fn blank_session(ids: &Counted) -> Session {
    let now = DateTime::UNIX_EPOCH;
    let agent_id = AgentId::mint(ids);
    let definition = AgentDefinition {
        name: "writer".to_owned(),
        description: None,
        model: Model {
            id: "demo".to_owned(),
            effort: Effort::high(),
            speed: None,
            inference_geo: None,
        },
        system: None,
        harness: HarnessName::parse("opencode").unwrap(),
        tools: Vec::new(),
        mcp_servers: Vec::new(),
        skills: Vec::new(),
        multiagent: None,
        execution_identity: ExecutionIdentity::ServiceAccount,
        metadata: BTreeMap::new(),
    };
    Session {
        id: SessionId::mint(ids),
        team_id: TeamId::mint(ids),
        agent_id,
        environment_id: EnvironmentId::mint(ids),
        agent: AgentSnapshot { id: agent_id, version: 1, definition },
        context: None,
        title: None,
        metadata: BTreeMap::new(),
        vault_ids: Vec::new(),
        status: SessionStatus::Idle,
        epoch: Epoch::NONE,
        sandbox_id: None,
        startup: None,
        harness_session: None,
        last_event: 0,
        journal_through: 0,
        usage: Usage::default(),
        created_at: now,
        updated_at: now,
        idle_since: None,
        archived_at: None,
    }
}

#[test]
fn a_turn_that_may_have_been_lost_on_its_way_is_sent_again_when_the_sandbox_links_anew() {
    let mut scene = Scene::ready();
    scene.say("hello");
    let turn = scene.current_turn();
    scene.get_ready();
    assert_eq!(scene.starts_of(turn), 2);
    assert_eq!(scene.open_turns[0].attempts, 1);

    scene.report(Entry::TurnStarted { turn_id: turn });
    scene.get_ready();
    assert_eq!(scene.starts_of(turn), 2);
}

#[test]
fn a_new_session_asks_for_its_first_sandbox_at_once() {
    let scene = Scene::opened();
    assert_eq!(scene.sent, [Outgoing::ProvisionSandbox { epoch: Epoch(1) }]);
}

#[test]
fn a_message_before_the_sandbox_is_ready_waits_for_it() {
    let mut scene = Scene::opened();
    scene.say("hello");
    assert_eq!(scene.types(), ["user.message", "session.status_running"]);
    let turn = scene.current_turn();
    assert_eq!(scene.starts_of(turn), 0);
    scene.get_ready();
    assert_eq!(scene.starts_of(turn), 1);
}

#[test]
fn messages_during_a_turn_queue_in_order() {
    let mut scene = Scene::ready();
    scene.say("one");
    let first = scene.current_turn();
    scene.say("two");
    assert_eq!(scene.open_turns.len(), 2);
    scene.report(Entry::TurnStarted { turn_id: first });
    scene.report(Entry::TurnEnded {
        turn_id: first,
        stop_reason: StopReason::EndTurn,
        message: None,
    });
    let second = scene.current_turn();
    assert_eq!(scene.starts_of(second), 1);
    assert_eq!(
        scene.types(),
        [
            "user.message",
            "session.status_running",
            "user.message",
            "session.status_idle",
            "session.status_running"
        ]
    );
}

#[test]
fn a_batch_that_comes_twice_changes_nothing() {
    let mut scene = Scene::ready();
    scene.say("one");
    let turn_id = scene.current_turn();
    let epoch = scene.session.epoch;
    let batch = vec![
        NumberedEntry { number: 1, entry: Entry::TurnStarted { turn_id } },
        NumberedEntry {
            number: 2,
            entry: Entry::TurnEnded { turn_id, stop_reason: StopReason::EndTurn, message: None },
        },
    ];
    let again = batch.clone();
    let through = scene.act(|conversation, moment| conversation.take_journal(epoch, batch, moment));
    let log = scene.log.clone();
    let repeat = scene.act(|conversation, moment| conversation.take_journal(epoch, again, moment));
    assert_eq!((through, repeat), (Ok(2), Ok(2)));
    assert_eq!(scene.log, log);
}

#[test]
fn a_stale_epoch_is_refused() {
    let mut scene = Scene::ready();
    scene.say("one");
    let turn_id = scene.current_turn();
    let old = scene.session.epoch;
    scene.lose(true);
    let batch = vec![NumberedEntry { number: 1, entry: Entry::TurnStarted { turn_id } }];
    let refused = scene.act(|conversation, moment| conversation.take_journal(old, batch, moment));
    assert_eq!(refused, Err(Refusal::StaleEpoch { given: old, current: old.next() }));
}

#[test]
fn a_sandbox_cannot_put_words_into_a_users_mouth() {
    let mut scene = Scene::ready();
    let epoch = scene.session.epoch;
    let entry = Entry::Event {
        turn_id: None,
        id: EventId::mint(&scene.ids),
        body: EventBody::UserMessage { content: Vec::new() },
    };
    let batch = vec![NumberedEntry { number: 1, entry }];
    let refused = scene.act(|conversation, moment| conversation.take_journal(epoch, batch, moment));
    assert_eq!(refused, Err(Refusal::ForbiddenEntry("user.message")));
    assert!(scene.log.is_empty());
}

#[test]
fn what_a_lost_sandbox_had_begun_is_ended_before_the_turn_goes_on() {
    let mut scene = Scene::ready();
    scene.say("one");
    let (call, span) = (EventId::mint(&scene.ids), EventId::mint(&scene.ids));
    scene.lose_with(true, Unfinished { calls: vec![call], span: Some(span) });
    assert_eq!(
        scene.types(),
        [
            "user.message",
            "session.status_running",
            "agent.tool_result",
            "span.model_request_end",
            "session.status_rescheduled"
        ]
    );
}

#[test]
fn a_lost_turn_is_taken_up_three_times_and_then_ends() {
    let mut scene = Scene::ready();
    scene.say("one");
    let turn = scene.current_turn();
    for _ in 0..3 {
        scene.lose(true);
        assert_eq!(scene.session.status, SessionStatus::Rescheduling);
        scene.get_ready();
    }
    scene.lose(true);
    assert_eq!(scene.starts_of(turn), 4);
    assert!(scene.open_turns.is_empty());
    let last = &scene.log[scene.log.len() - 1].body;
    let stop_reason = StopReason::RetriesExhausted.into();
    assert_eq!(*last, EventBody::SessionStatusIdle { stop_reason });
    scene.say("two");
    scene.get_ready();
    assert_eq!(scene.starts_of(scene.current_turn()), 1);
}

#[test]
fn an_interrupt_ends_a_turn_that_no_sandbox_has_at_once() {
    let mut scene = Scene::opened();
    scene.say("one");
    scene.interrupt();
    assert_eq!(
        scene.types(),
        ["user.message", "session.status_running", "user.interrupt", "session.status_idle"]
    );
}

#[test]
fn an_interrupt_that_reaches_nobody_ends_the_turn_and_cuts_the_sandbox_off() {
    let mut scene = Scene::ready();
    scene.say("one");
    let (turn, epoch) = (scene.current_turn(), scene.session.epoch);
    scene.interrupt();
    assert!(matches!(scene.sent.last(), Some(Outgoing::InterruptTurn { .. })));
    scene.act(|conversation, moment| conversation.interrupt_undeliverable(epoch, turn, moment));
    assert!(scene.open_turns.is_empty());
    assert!(scene.session.epoch > epoch);
}

#[test]
fn a_turn_that_reached_nobody_waits_for_the_same_sandbox() {
    let mut scene = Scene::ready();
    scene.say("one");
    let (turn, epoch) = (scene.current_turn(), scene.session.epoch);
    scene.act(|conversation, moment| conversation.turn_undeliverable(epoch, turn, moment));
    assert_eq!(scene.sent.last(), Some(&Outgoing::ProvisionSandbox { epoch }));
    scene.get_ready();
    assert_eq!(scene.starts_of(turn), 2);
    assert_eq!(scene.open_turns[0].attempts, 1);
}

#[test]
fn a_start_that_fails_three_times_is_given_up_and_said_so() {
    let mut scene = Scene::opened();
    for _ in 0..MAX_STARTS {
        scene.lose(true);
    }
    assert_eq!(scene.types(), ["session.error"]);
    assert!(scene.session.startup.as_ref().unwrap().failure.is_some());
    let provisions = scene.sent.len();
    scene.say("again");
    assert_eq!(scene.sent.len(), provisions + 1);
}

#[test]
fn an_idle_session_gives_its_sandbox_back_but_a_busy_one_keeps_it() {
    let mut scene = Scene::ready();
    let (epoch, sandbox) = (scene.session.epoch, scene.session.sandbox_id.unwrap());
    scene.say("one");
    let refused =
        scene.act(|conversation, moment| conversation.release_sandbox(epoch, sandbox, moment));
    assert_eq!(refused, Err(Refusal::TurnUnderWay));
    let turn_id = scene.current_turn();
    let stop_reason = StopReason::EndTurn;
    scene.report(Entry::TurnEnded { turn_id, stop_reason, message: None });
    scene.act(|conversation, moment| conversation.release_sandbox(epoch, sandbox, moment)).unwrap();
    assert_eq!(scene.session.sandbox_id, None);
    scene.say("two");
    assert!(matches!(scene.sent.last(), Some(Outgoing::ProvisionSandbox { .. })));
}

#[test]
fn an_archived_session_takes_nothing_more() {
    let mut scene = Scene::ready();
    scene.say("one");
    scene.act(Conversation::archive);
    let id = EventId::mint(&scene.ids);
    let body = EventBody::UserInterrupt {};
    let refused =
        scene.act(|conversation, moment| conversation.send(vec![ClientEvent { id, body }], moment));
    assert_eq!(refused, Err(Refusal::Archived));
    assert_eq!(scene.types().last(), Some(&"session.status_terminated"));
}

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
    Release,
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
        1 => Just(Happening::Release),
    ]
}

impl Scene {
    fn happen(&mut self, happening: &Happening) {
        let epoch = self.session.epoch;
        let turn = self.open_turns.first().map(|turn| turn.id);
        match (happening, turn) {
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
            (Happening::Release, _) => {
                if let Some(sandbox) = self.session.sandbox_id {
                    let _ = self.act(|conversation, moment| {
                        conversation.release_sandbox(epoch, sandbox, moment)
                    });
                }
            }
            (
                Happening::Start
                | Happening::End
                | Happening::RepeatBatch
                | Happening::StaleBatch
                | Happening::Undeliverable,
                _,
            ) => {}
        }
    }

    fn check(&self) {
        let numbers: Vec<i64> = self.log.iter().map(|event| event.number).collect();
        let expected: Vec<i64> = (1..=self.session.last_event).collect();
        assert_eq!(numbers, expected, "numbers have no gaps and no repeats");
        let messages = self.types().iter().filter(|kind| **kind == "user.message").count();
        let idles = self.types().iter().filter(|kind| **kind == "session.status_idle").count();
        assert_eq!(messages, idles + self.open_turns.len(), "every turn ends with one event");
        let is_idle = self.session.status == SessionStatus::Idle;
        assert_eq!(is_idle, self.open_turns.is_empty(), "a session is idle when no turn is open");
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
            scene.get_ready();
            if let Some(turn) = scene.open_turns.first().map(|turn| turn.id) {
                scene.report(Entry::TurnStarted { turn_id: turn });
                scene.report(Entry::TurnEnded { turn_id: turn, stop_reason: StopReason::EndTurn, message: None });
            }
        }
        scene.check();
        prop_assert!(scene.open_turns.is_empty());
    }
}
