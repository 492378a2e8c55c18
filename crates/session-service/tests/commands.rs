//! Session commands against the real database and broker.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use platform_core::agent::{Agent, AgentDefinition, Effort, ExecutionIdentity, Model};
use platform_core::clock::Clock;
use platform_core::environment::{
    Environment, EnvironmentConfig, Networking, Packages, SandboxSpec,
};
use platform_core::harness::HarnessName;
use platform_core::id::{AgentId, EnvironmentId, EventId, SessionId, TeamId};
use platform_core::journal::Entry;
use platform_core::session::{ClientEvent, ContentBlock, Event, EventBody};
use platform_core::team::Team;
use platform_core::turn::StopReason;
use platform_messaging::proto::sandbox::{SandboxCommand, sandbox_command};
use platform_messaging::proto::session::session_command::Action;
use platform_messaging::proto::session::session_reply::Outcome;
use platform_messaging::proto::session::{
    AppendJournal, DeleteSession, EventsAppended, JournalEntry, OpenSession, ReportLoss,
    ReportStartup, SendEvents, SessionCommand, SessionReply,
};
use platform_messaging::topology::Queue;
use platform_messaging::{Broker, Verdict, decode};
use platform_runtime::clock::{SystemClock, SystemIds};
use platform_storage::event::EventFilter;
use platform_storage::{Database, Order, agent, environment, event, outbox, session, team, turn};
use secrecy::SecretString;
use session_service::commands::{Context, carry_out};
use test_support::{TestBroker, TestDatabase};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// A service with a team, an agent and an environment, and whatever it tells sandbox-service.
struct House {
    context: Context,
    team: TeamId,
    agent: Agent,
    environment: EnvironmentId,
    sandbox_commands: mpsc::UnboundedReceiver<SandboxCommand>,
    _database: TestDatabase,
    _broker: TestBroker,
    end: CancellationToken,
}

impl Drop for House {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

impl House {
    async fn build() -> Self {
        let test_database = TestDatabase::create().await.unwrap();
        let test_broker = TestBroker::create().await.unwrap();
        let database = Database::connect(test_database.url(), 8).unwrap();
        let url = SecretString::from(test_broker.url().to_owned());
        let broker = Broker::connect(&url, "test").await.unwrap();
        broker.declare_topology().await.unwrap();
        let end = CancellationToken::new();
        let sandbox_commands = listen(&broker, end.clone());
        let (team, agent, environment) = define(&database).await;
        let context = Context {
            database,
            broker,
            clock: Arc::new(SystemClock),
            ids: Arc::new(SystemIds),
            publications: TaskTracker::new(),
        };
        Self {
            context,
            team,
            agent,
            environment,
            sandbox_commands,
            _database: test_database,
            _broker: test_broker,
            end,
        }
    }

    async fn ask(&self, session: SessionId, action: Action) -> Outcome {
        self.ask_as(Uuid::now_v7(), self.team, session, action).await
    }

    async fn ask_as(
        &self,
        command: Uuid,
        team: TeamId,
        session: SessionId,
        action: Action,
    ) -> Outcome {
        let command = SessionCommand {
            command_id: command.to_string(),
            team_id: team.uuid().to_string(),
            session_id: session.uuid().to_string(),
            action: Some(action),
        };
        match carry_out(self.context.clone(), command).await {
            Verdict::Answer(answer) => decode::<SessionReply>(&answer).unwrap().outcome.unwrap(),
            other @ (Verdict::Done | Verdict::Retry | Verdict::DeadLetter) => {
                panic!("no answer but {other:?}")
            }
        }
    }

    fn opening(&self, context: Option<&str>) -> Action {
        Action::Open(OpenSession {
            agent_id: self.agent.id.uuid().to_string(),
            agent_version: 0,
            agent_snapshot: serde_json::to_vec(&self.agent.snapshot()).unwrap(),
            environment_id: self.environment.uuid().to_string(),
            context: context.map(str::to_owned),
            title: None,
            metadata: b"{}".to_vec(),
            initial_events: b"[]".to_vec(),
            vault_ids: Vec::new(),
        })
    }

    async fn opened(&self) -> SessionId {
        let id = SessionId::mint(&SystemIds);
        let outcome = self.ask(id, self.opening(None)).await;
        assert!(matches!(outcome, Outcome::Opened(opened) if opened.created));
        id
    }

    /// A session whose sandbox says that it is ready.
    async fn ready(&mut self) -> SessionId {
        let session = self.opened().await;
        let provision = self.told().await;
        let ready = ReportStartup {
            epoch: provision.epoch,
            sandbox_id: Uuid::now_v7().to_string(),
            phase: "ready".to_owned(),
            ..ReportStartup::default()
        };
        self.ask(session, Action::ReportStartup(ready)).await;
        session
    }

    /// What sandbox-service is told next.
    async fn told(&mut self) -> SandboxCommand {
        self.sandbox_commands.recv().await.unwrap()
    }

    async fn log(&self, session: SessionId) -> Vec<Event> {
        let mut connection = self.context.database.connection().await.unwrap();
        let all = EventFilter::default();
        event::list(&mut connection, self.team, session, &all, Order::OldestFirst, 100)
            .await
            .unwrap()
    }

    async fn types(&self, session: SessionId) -> Vec<&'static str> {
        self.log(session).await.iter().map(|event| event.body.type_name()).collect()
    }
}

fn listen(broker: &Broker, end: CancellationToken) -> mpsc::UnboundedReceiver<SandboxCommand> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let broker = broker.clone();
    tokio::spawn(async move {
        let handler = move |incoming: platform_messaging::Incoming| {
            sender.send(decode(&incoming.body).unwrap()).ok();
            async { Verdict::Done }
        };
        broker.consume(Queue::SANDBOX_COMMANDS, 1, 1, end, handler).await;
    });
    receiver
}

async fn define(database: &Database) -> (TeamId, Agent, EnvironmentId) {
    let now: DateTime<Utc> = SystemClock.now();
    let ids = &SystemIds;
    let team = Team { id: TeamId::mint(ids), name: "makers".to_owned(), created_at: now };
    let agent = Agent {
        id: AgentId::mint(ids),
        team_id: team.id,
        version: 1,
        definition: definition(),
        created_at: now,
        updated_at: now,
        archived_at: None,
    };
    let environment = Environment {
        id: EnvironmentId::mint(ids),
        team_id: team.id,
        name: "workshop".to_owned(),
        description: None,
        config: EnvironmentConfig::Cloud {
            networking: Networking::Unrestricted,
            packages: Packages::default(),
            sandbox: SandboxSpec::default(),
        },
        scope: None,
        metadata: BTreeMap::new(),
        created_at: now,
        updated_at: now,
        archived_at: None,
    };
    let mut connection = database.connection().await.unwrap();
    team::insert(&mut connection, &team).await.unwrap();
    agent::insert(&mut connection, &agent).await.unwrap();
    environment::insert(&mut connection, &environment).await.unwrap();
    (team.id, agent, environment.id)
}

fn definition() -> AgentDefinition {
    AgentDefinition {
        name: "coder".to_owned(),
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
    }
}

fn saying(text: &str) -> Action {
    let body = EventBody::UserMessage { content: vec![ContentBlock::text(text)] };
    let events = [ClientEvent { id: EventId::mint(&SystemIds), body }];
    Action::SendEvents(SendEvents { events: serde_json::to_vec(&events).unwrap() })
}

fn journal(epoch: u64, entries: &[(u64, Entry)]) -> Action {
    let entries = entries.iter().map(|(number, entry)| JournalEntry {
        number: *number,
        body: serde_json::to_vec(entry).unwrap(),
    });
    let sandbox_id = Uuid::now_v7().to_string();
    Action::AppendJournal(AppendJournal { epoch, sandbox_id, entries: entries.collect() })
}

fn started_turn(command: SandboxCommand) -> (Uuid, u64) {
    match command.action {
        Some(sandbox_command::Action::StartTurn(start)) => {
            (start.turn_id.parse().unwrap(), command.epoch)
        }
        other => panic!("no StartTurn but {other:?}"),
    }
}

/// The links of all sandboxes: what is routed there arrives here.
async fn hold_links(house: &House, sandbox: &str) -> mpsc::UnboundedReceiver<SandboxCommand> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let links = house.context.broker.own_queue("links");
    let (queue, end) = (links.clone(), house.end.clone());
    tokio::spawn(async move {
        let handler = move |incoming: platform_messaging::Incoming| {
            sender.send(decode(&incoming.body).unwrap()).ok();
            async { Verdict::Done }
        };
        queue.consume(1, 1, end, handler).await;
    });
    links.bind(platform_messaging::topology::SANDBOX_LINKS, sandbox).await.unwrap();
    receiver
}

#[tokio::test]
async fn opening_a_session_asks_for_a_sandbox() {
    let mut house = House::build().await;
    let session = house.opened().await;
    let told = house.told().await;
    assert_eq!((told.session_id, told.epoch), (session.uuid().to_string(), 1));
    assert!(matches!(told.action, Some(sandbox_command::Action::Provision(_))));
}

#[tokio::test]
async fn a_command_that_comes_twice_is_answered_as_the_first_time_and_changes_nothing_more() {
    let house = House::build().await;
    let session = house.opened().await;
    let (command, message) = (Uuid::now_v7(), saying("once"));
    let first = house.ask_as(command, house.team, session, message.clone()).await;
    let second = house.ask_as(command, house.team, session, message).await;
    assert_eq!(first, second);
    assert_eq!(house.types(session).await, ["user.message", "session.status_running"]);
}

#[tokio::test]
async fn one_command_delivered_twice_at_once_is_carried_out_once() {
    let house = House::build().await;
    let session = house.opened().await;
    let command = SessionCommand {
        command_id: Uuid::now_v7().to_string(),
        team_id: house.team.uuid().to_string(),
        session_id: session.uuid().to_string(),
        action: Some(saying("once")),
    };
    let twice = [(); 2].map(|()| carry_out(house.context.clone(), command.clone()));
    // The one that loses the race is told to try again, and then finds the answer.
    for verdict in futures::future::join_all(twice).await {
        assert!(matches!(verdict, Verdict::Answer(_) | Verdict::Retry), "{verdict:?}");
    }
    assert_eq!(house.types(session).await, ["user.message", "session.status_running"]);
}

#[tokio::test]
async fn two_that_ask_for_one_context_at_once_get_the_same_session() {
    let house = House::build().await;
    let opening = house.opening(Some("slack:T1:C1"));
    let asked = [(); 8].map(|()| house.ask(SessionId::mint(&SystemIds), opening.clone()));
    let mut opened = Vec::new();
    for outcome in futures::future::join_all(asked).await {
        let Outcome::Opened(answer) = outcome else { panic!("{outcome:?}") };
        opened.push(answer);
    }
    assert_eq!(opened.iter().filter(|answer| answer.created).count(), 1);
    assert!(opened.iter().all(|answer| answer.session_id == opened[0].session_id));
}

#[tokio::test]
async fn messages_of_many_senders_at_once_are_numbered_without_gaps() {
    let house = House::build().await;
    let session = house.opened().await;
    let sent = (0..20).map(|number| house.ask(session, saying(&number.to_string())));
    let outcomes = futures::future::join_all(sent).await;
    let is_appended = |outcome: &Outcome| matches!(outcome, Outcome::Appended(_));
    assert!(outcomes.iter().all(is_appended));
    let numbers: Vec<i64> = house.log(session).await.iter().map(|event| event.number).collect();
    assert_eq!(numbers, (1..=21).collect::<Vec<i64>>());
}

#[tokio::test]
async fn a_turn_goes_to_the_sandbox_and_its_journal_into_the_log() {
    let mut house = House::build().await;
    let session = house.ready().await;
    let mut connection = house.context.database.connection().await.unwrap();
    let stored = session::find(&mut connection, house.team, session).await.unwrap().unwrap();
    let sandbox = stored.sandbox_id.unwrap().uuid().to_string();
    let mut links = hold_links(&house, &sandbox).await;

    let Outcome::Appended(EventsAppended { turn_ids, .. }) = house.ask(session, saying("go")).await
    else {
        panic!("the message was not taken")
    };
    let (turn, epoch) = started_turn(links.recv().await.unwrap());
    assert_eq!(turn_ids, [turn.to_string()]);
    let turn_id = platform_core::id::TurnId::from_uuid(turn);
    let said = Entry::Event {
        turn_id: Some(turn_id),
        id: EventId::mint(&SystemIds),
        body: EventBody::AgentMessage { content: vec![ContentBlock::text("done")] },
    };
    let ended = Entry::TurnEnded { turn_id, stop_reason: StopReason::EndTurn, message: None };
    let batch = journal(epoch, &[(1, Entry::TurnStarted { turn_id }), (2, said), (3, ended)]);
    let first = house.ask(session, batch.clone()).await;
    let again = house.ask(session, batch).await;
    assert_eq!(first, again);
    assert_eq!(
        house.types(session).await,
        ["user.message", "session.status_running", "agent.message", "session.status_idle"]
    );
    let log = house.log(session).await;
    assert!(log[0].processed_at.is_some(), "the message was processed when its turn began");
    assert!(turn::open_turns(&mut connection, house.team, session).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_turn_that_no_link_takes_waits_while_its_sandbox_is_asked_for_again() {
    let mut house = House::build().await;
    let session = house.ready().await;
    house.ask(session, saying("go")).await;
    let told = house.told().await;
    assert_eq!(told.epoch, 1);
    assert!(matches!(told.action, Some(sandbox_command::Action::Provision(_))));
}

#[tokio::test]
async fn a_call_that_was_open_when_the_sandbox_was_lost_is_ended_as_an_error() {
    let mut house = House::build().await;
    let session = house.ready().await;
    let mut connection = house.context.database.connection().await.unwrap();
    let stored = session::find(&mut connection, house.team, session).await.unwrap().unwrap();
    let sandbox = stored.sandbox_id.unwrap().uuid().to_string();
    let mut links = hold_links(&house, &sandbox).await;
    house.ask(session, saying("go")).await;
    let (turn, epoch) = started_turn(links.recv().await.unwrap());
    let turn_id = platform_core::id::TurnId::from_uuid(turn);
    let call = |id| Entry::Event {
        turn_id: Some(turn_id),
        id,
        body: EventBody::AgentToolUse {
            name: "bash".to_owned(),
            input: serde_json::Map::new(),
            evaluated_permission: None,
        },
    };
    let (ended, open) = (EventId::mint(&SystemIds), EventId::mint(&SystemIds));
    let result = Entry::Event {
        turn_id: Some(turn_id),
        id: EventId::mint(&SystemIds),
        body: EventBody::AgentToolResult {
            tool_use_id: ended,
            content: Vec::new(),
            is_error: false,
        },
    };
    let batch = journal(epoch, &[(1, call(ended)), (2, result), (3, call(open))]);
    house.ask(session, batch).await;
    let loss = ReportLoss {
        epoch,
        sandbox_id: sandbox,
        reason: "killed".to_owned(),
        message: "it is gone".to_owned(),
        may_retry: true,
    };
    house.ask(session, Action::ReportLoss(loss)).await;
    let log = house.log(session).await;
    let results = log.iter().filter_map(|event| {
        let EventBody::AgentToolResult { tool_use_id, is_error, .. } = &event.body else {
            return None;
        };
        Some((*tool_use_id, *is_error))
    });
    assert_eq!(results.collect::<Vec<_>>(), [(ended, false), (open, true)]);
    assert_eq!(house.types(session).await.last(), Some(&"session.status_rescheduled"));
}

#[tokio::test]
async fn a_journal_of_a_stale_epoch_is_refused() {
    let mut house = House::build().await;
    let session = house.ready().await;
    let entry = Entry::HarnessSession { id: "ses_1".to_owned() };
    let outcome = house.ask(session, journal(7, &[(1, entry)])).await;
    let Outcome::Refused(refused) = outcome else { panic!("{outcome:?}") };
    assert_eq!((refused.kind.as_str(), refused.code.as_str()), ("conflict", "stale_epoch"));
}

#[tokio::test]
async fn another_teams_session_is_not_found() {
    let house = House::build().await;
    let session = house.opened().await;
    let stranger = TeamId::mint(&SystemIds);
    let outcome = house.ask_as(Uuid::now_v7(), stranger, session, saying("hello")).await;
    let Outcome::Refused(refused) = outcome else { panic!("{outcome:?}") };
    assert_eq!(refused.kind, "not_found");
    assert!(house.log(session).await.is_empty());
}

#[tokio::test]
async fn a_deleted_session_leaves_nothing_and_its_workspace_is_removed() {
    let mut house = House::build().await;
    let session = house.opened().await;
    house.ask(session, saying("hello")).await;
    house.told().await;
    house.ask(session, Action::Delete(DeleteSession {})).await;
    let Some(sandbox_command::Action::Stop(stop)) = house.told().await.action else {
        panic!("the sandbox was not stopped")
    };
    assert!(stop.remove_workspace);
    assert!(house.log(session).await.is_empty());
}

#[tokio::test]
async fn what_cannot_be_published_stays_in_the_outbox() {
    let house = House::build().await;
    house.context.broker.close().await;
    house.opened().await;
    house.context.publications.close();
    house.context.publications.wait().await;
    let mut connection = house.context.database.connection().await.unwrap();
    let later = SystemClock.now() + chrono::TimeDelta::minutes(1);
    let left = outbox::take_unsent(&mut connection, later, 10).await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].exchange, "sandbox.commands");
}
