//! A conversation under test, played as a service does: taken up, changed, stored.

use std::sync::atomic::{AtomicU64, Ordering};

use chrono::DateTime;
use uuid::Uuid;

use crate::agent::{AgentDefinition, AgentSnapshot, Effort, ExecutionIdentity, Model};
use crate::conversation::*;
use crate::harness::HarnessName;
use crate::id::{AgentId, EnvironmentId, SessionId, TeamId};
use crate::journal::Entry;
use crate::sandbox::StartupPhase;
use crate::session::ContentBlock;

/// Ids 1, 2, 3 …
#[derive(Default)]
pub(super) struct Counted(AtomicU64);

impl IdSource for Counted {
    fn uuid(&self) -> Uuid {
        Uuid::from_u128(u128::from(self.0.fetch_add(1, Ordering::Relaxed)) + 1)
    }
}

/// A conversation under test, with the log and the messages that came of it so far.
pub(super) struct Scene {
    pub(super) ids: Counted,
    pub(super) session: Session,
    pub(super) open_turns: Vec<Turn>,
    pub(super) last_ordinal: i64,
    pub(super) log: Vec<Event>,
    pub(super) sent: Vec<Outgoing>,
    pub(super) journal: u64,
    /// What the team may spend and has spent.
    pub(super) team: Allowance,
}

impl Scene {
    pub(super) fn opened() -> Self {
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
            team: Allowance::default(),
        };
        scene.keep(changes);
        scene
    }

    pub(super) fn ready() -> Self {
        let mut scene = Self::opened();
        scene.get_ready();
        scene
    }

    /// Resumes the stored session, lets `happen` happen, and stores what came of it: as a service does for each command.
    pub(super) fn act<T>(&mut self, happen: impl FnOnce(&mut Conversation, Moment<'_>) -> T) -> T {
        let mut conversation =
            Conversation::resume(self.session.clone(), self.open_turns.clone(), self.last_ordinal)
                .of_team(self.team);
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

    pub(super) fn keep(&mut self, changes: Changes) {
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

    pub(super) fn get_ready(&mut self) {
        self.get_ready_with(self.unfinished());
    }

    /// What the log has open of the turn under way, as a service reads it.
    pub(super) fn unfinished(&self) -> Unfinished {
        let Some(turn) = self.open_turns.first().map(|turn| turn.id) else {
            return Unfinished::default();
        };
        let of_turn = || self.log.iter().filter(|event| event.turn_id == Some(turn));
        let has_result =
            |call: EventId| of_turn().any(|event| result_of(&event.body) == Some(call));
        let calls = of_turn().filter(|event| is_call(&event.body)).map(|event| event.id);
        Unfinished { calls: calls.filter(|call| !has_result(*call)).collect(), span: None }
    }

    /// `unfinished` is what the log has open by then.
    pub(super) fn get_ready_with(&mut self, unfinished: Unfinished) {
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
        self.act(|conversation, moment| conversation.report_startup(report, unfinished, moment))
            .unwrap();
    }

    pub(super) fn send(&mut self, event: ClientEvent) -> Result<Vec<Taken>, Refusal> {
        let unfinished = self.unfinished();
        self.act(|conversation, moment| conversation.send(vec![event], unfinished, moment))
    }

    pub(super) fn say(&mut self, text: &str) {
        let body = EventBody::UserMessage { content: vec![ContentBlock::text(text)] };
        let id = EventId::mint(&self.ids);
        self.send(ClientEvent { id, body }).unwrap();
    }

    pub(super) fn interrupt(&mut self) {
        let id = EventId::mint(&self.ids);
        let body = EventBody::UserInterrupt {};
        self.send(ClientEvent { id, body }).unwrap();
    }

    pub(super) fn report(&mut self, entry: Entry) {
        self.journal += 1;
        let (epoch, number) = (self.session.epoch, self.journal);
        let batch = vec![NumberedEntry { number, entry }];
        self.act(|conversation, moment| conversation.take_journal(epoch, batch, moment)).unwrap();
    }

    pub(super) fn lose(&mut self, may_retry: bool) {
        self.lose_with(may_retry, self.unfinished());
    }

    pub(super) fn lose_with(&mut self, may_retry: bool, unfinished: Unfinished) {
        let loss = Loss {
            epoch: self.session.epoch,
            reason: "exited".to_owned(),
            message: "the process ended".to_owned(),
            may_retry,
            unfinished,
        };
        self.act(|conversation, moment| conversation.lose_sandbox(loss, moment));
    }

    pub(super) fn release(&mut self) -> Result<(), Refusal> {
        let (epoch, sandbox) = (self.session.epoch, self.session.sandbox_id.unwrap());
        self.act(|conversation, moment| conversation.release_sandbox(epoch, sandbox, moment))
    }

    /// The agent makes a call that needs nobody's leave.
    pub(super) fn call_freely(&mut self) -> EventId {
        let (name, input) = ("bash".to_owned(), serde_json::Map::new());
        self.call(EventBody::AgentToolUse { name, input, evaluated_permission: None })
    }

    pub(super) fn give_result(&mut self, turn: TurnId, call: EventId) {
        let id = EventId::mint(&self.ids);
        let (tool_use_id, content) = (call, Vec::new());
        let body = EventBody::AgentToolResult { tool_use_id, content, is_error: false };
        self.report(Entry::Event { turn_id: Some(turn), id, body });
    }

    /// The agent makes a call that somebody has to allow first.
    pub(super) fn ask(&mut self) -> EventId {
        let body = EventBody::AgentToolUse {
            name: "bash".to_owned(),
            input: serde_json::Map::new(),
            evaluated_permission: Some("ask".to_owned()),
        };
        self.call(body)
    }

    /// The agent makes a call that the client carries out.
    pub(super) fn call_client(&mut self) -> EventId {
        let (name, input) = ("weather".to_owned(), serde_json::Map::new());
        self.call(EventBody::AgentCustomToolUse { name, input })
    }

    pub(super) fn call(&mut self, body: EventBody) -> EventId {
        let id = EventId::mint(&self.ids);
        let turn_id = Some(self.current_turn());
        self.report(Entry::Event { turn_id, id, body });
        id
    }

    pub(super) fn confirm(&mut self, call: EventId, result: &str) -> Result<Vec<Taken>, Refusal> {
        let body = EventBody::UserToolConfirmation {
            tool_use_id: call,
            result: result.to_owned(),
            deny_message: None,
        };
        let id = EventId::mint(&self.ids);
        self.send(ClientEvent { id, body })
    }

    pub(super) fn answer_client_call(&mut self, call: EventId) -> Result<Vec<Taken>, Refusal> {
        let content = vec![ContentBlock::text("sunny")];
        let body =
            EventBody::UserCustomToolResult { custom_tool_use_id: call, content, is_error: false };
        let id = EventId::mint(&self.ids);
        self.send(ClientEvent { id, body })
    }

    /// How often an answer to the call was sent to a sandbox.
    pub(super) fn answers_to(&self, wanted: EventId) -> usize {
        let is_answer = |outgoing: &&Outgoing| matches!(outgoing, Outgoing::AnswerAction { call, .. } if *call == wanted);
        self.sent.iter().filter(is_answer).count()
    }

    pub(super) fn started(&mut self, text: &str) -> TurnId {
        self.say(text);
        let turn_id = self.current_turn();
        self.report(Entry::TurnStarted { turn_id });
        turn_id
    }

    pub(super) fn end(&mut self, turn_id: TurnId) {
        let stop_reason = StopReason::EndTurn;
        self.report(Entry::TurnEnded { turn_id, stop_reason, message: None });
    }

    pub(super) fn waiting_for(&self) -> Vec<EventId> {
        let idle = self.log.iter().rev().find_map(|event| {
            let EventBody::SessionStatusIdle { stop_reason } = &event.body else { return None };
            stop_reason.event_ids.clone()
        });
        idle.unwrap_or_default()
    }

    pub(super) fn current_turn(&self) -> TurnId {
        self.open_turns[0].id
    }

    pub(super) fn types(&self) -> Vec<&'static str> {
        self.log.iter().map(|event| event.body.type_name()).collect()
    }

    pub(super) fn starts_of(&self, turn: TurnId) -> usize {
        let is_start = |outgoing: &&Outgoing| matches!(outgoing, Outgoing::StartTurn { turn: started, .. } if started.id == turn);
        self.sent.iter().filter(is_start).count()
    }
}

/// A client's own tool has its result in an event of the client.
pub(super) fn is_call(body: &EventBody) -> bool {
    matches!(body, EventBody::AgentToolUse { .. })
}

/// The call whose result it is.
pub(super) fn result_of(body: &EventBody) -> Option<EventId> {
    if let EventBody::AgentToolResult { tool_use_id, .. } = body {
        Some(*tool_use_id)
    } else {
        None
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
        environment_variables: BTreeMap::new(),
        metadata: BTreeMap::new(),
    };
    let agent = AgentSnapshot { id: agent_id, version: 1, definition };
    let (id, team, environment) =
        (SessionId::mint(ids), TeamId::mint(ids), EnvironmentId::mint(ids));
    Session::new(id, team, agent, environment, now)
}
