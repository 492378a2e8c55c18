//! A session-service with a team, an agent and an environment, and what it tells others.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use platform_core::agent::{Agent, AgentDefinition, Effort, ExecutionIdentity, Model};
use platform_core::clock::Clock;
use platform_core::environment::{
    Environment, EnvironmentConfig, Networking, Packages, SandboxSpec,
};
use platform_core::harness::HarnessName;
use platform_core::id::{AgentId, EnvironmentId, EventId, SessionId, TeamId, TurnId};
use platform_core::journal::Entry;
use platform_core::session::{ClientEvent, ContentBlock, Event, EventBody};
use platform_core::team::Team;
use platform_messaging::proto::sandbox::{SandboxCommand, sandbox_command};
use platform_messaging::proto::session::session_command::Action;
use platform_messaging::proto::session::session_reply::Outcome;
use platform_messaging::proto::session::{
    AppendJournal, JournalEntry, OpenSession, ReportLoss, ReportStartup, SendEvents,
    SessionCommand, SessionReply,
};
use platform_messaging::topology::Queue;
use platform_messaging::{Broker, Verdict, decode};
use platform_runtime::clock::{SystemClock, SystemIds};
use platform_sealing::EncryptionKeys;
use platform_storage::event::EventFilter;
use platform_storage::{Database, Order, agent, environment, event, session, team};
use secrecy::SecretString;
use session_service::commands::{Context, carry_out};
use test_support::{TestBroker, TestDatabase};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// A service with a team, an agent and an environment, and whatever it tells sandbox-service.
pub(crate) struct House {
    pub(crate) context: Context,
    pub(crate) team: TeamId,
    agent: Agent,
    environment: EnvironmentId,
    sandbox_commands: mpsc::UnboundedReceiver<SandboxCommand>,
    pub(crate) server: TestDatabase,
    broker: TestBroker,
    end: CancellationToken,
}

pub(crate) fn keys() -> EncryptionKeys {
    EncryptionKeys::new(&SecretString::from("a key for tests of this service"), &[]).unwrap()
}

/// A session whose sandbox has begun a turn.
pub(crate) struct AtWork {
    pub(crate) session: SessionId,
    pub(crate) sandbox: String,
    pub(crate) turn: TurnId,
    pub(crate) epoch: u64,
    /// The number of the journal's last entry.
    pub(crate) journal: u64,
    /// What is sent over the sandbox's link.
    pub(crate) links: mpsc::UnboundedReceiver<SandboxCommand>,
}

impl Drop for House {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

impl House {
    pub(crate) async fn build() -> Self {
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
            keys: Arc::new(keys()),
            publications: TaskTracker::new(),
        };
        Self {
            context,
            team,
            agent,
            environment,
            sandbox_commands,
            server: test_database,
            broker: test_broker,
            end,
        }
    }

    pub(crate) async fn ask(&self, session: SessionId, action: Action) -> Outcome {
        self.ask_as(Uuid::now_v7(), self.team, session, action).await
    }

    pub(crate) async fn ask_as(
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

    pub(crate) fn broker_url(&self) -> &str {
        self.broker.url()
    }

    pub(crate) fn opening(&self, context: Option<&str>) -> Action {
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
            budget: Vec::new(),
            environment_variables: Vec::new(),
        })
    }

    pub(crate) async fn opened(&self) -> SessionId {
        let id = SessionId::mint(&SystemIds);
        let outcome = self.ask(id, self.opening(None)).await;
        assert!(matches!(outcome, Outcome::Opened(opened) if opened.created));
        id
    }

    /// A session whose sandbox says that it is ready.
    pub(crate) async fn ready(&mut self) -> SessionId {
        let session = self.opened().await;
        let provision = self.told().await;
        self.get_ready(session, provision.epoch).await;
        session
    }

    /// As [`House::ready`], with a turn that the sandbox has begun.
    pub(crate) async fn at_work(&mut self) -> AtWork {
        let session = self.ready().await;
        let mut connection = self.context.database.connection().await.unwrap();
        let stored = session::find(&mut connection, self.team, session).await.unwrap().unwrap();
        let sandbox = stored.sandbox_id.unwrap().uuid().to_string();
        let mut links = hold_links(self, &sandbox).await;
        self.ask(session, saying("go")).await;
        let (turn, epoch) = started_turn(links.recv().await.unwrap());
        let turn = TurnId::from_uuid(turn);
        let mut at_work = AtWork { session, sandbox, turn, epoch, journal: 0, links };
        self.tell(&mut at_work, Entry::TurnStarted { turn_id: turn }).await;
        at_work
    }

    /// The sandbox at work reports an entry of its journal.
    pub(crate) async fn tell(&self, at_work: &mut AtWork, entry: Entry) -> Outcome {
        at_work.journal += 1;
        self.ask(at_work.session, journal(at_work.epoch, &[(at_work.journal, entry)])).await
    }

    /// The agent at work does something; answers the id of its event.
    pub(crate) async fn act(&self, at_work: &mut AtWork, body: EventBody) -> EventId {
        let id = EventId::mint(&SystemIds);
        let entry = Entry::Event { turn_id: Some(at_work.turn), id, body };
        self.tell(at_work, entry).await;
        id
    }

    pub(crate) async fn lose(&self, at_work: &AtWork) {
        let loss = ReportLoss {
            epoch: at_work.epoch,
            sandbox_id: at_work.sandbox.clone(),
            reason: "killed".to_owned(),
            message: "it is gone".to_owned(),
            may_retry: true,
        };
        self.ask(at_work.session, Action::ReportLoss(loss)).await;
    }

    /// The sandbox that `provision` asked for is ready; answers its id.
    pub(crate) async fn get_ready(&self, session: SessionId, epoch: u64) -> String {
        let sandbox_id = Uuid::now_v7().to_string();
        self.link_anew(session, epoch, &sandbox_id).await;
        sandbox_id
    }

    /// A sandbox that is ready says so again, over a new link.
    pub(crate) async fn link_anew(&self, session: SessionId, epoch: u64, sandbox_id: &str) {
        let ready = ReportStartup {
            epoch,
            sandbox_id: sandbox_id.to_owned(),
            phase: "ready".to_owned(),
            ..ReportStartup::default()
        };
        self.ask(session, Action::ReportStartup(ready)).await;
    }

    /// What sandbox-service is told next.
    pub(crate) async fn told(&mut self) -> SandboxCommand {
        self.sandbox_commands.recv().await.unwrap()
    }

    pub(crate) async fn log(&self, session: SessionId) -> Vec<Event> {
        let mut connection = self.context.database.connection().await.unwrap();
        let all = EventFilter::default();
        event::list(&mut connection, self.team, session, &all, Order::OldestFirst, 100)
            .await
            .unwrap()
    }

    pub(crate) async fn types(&self, session: SessionId) -> Vec<&'static str> {
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
    let (id, name) = (TeamId::mint(ids), "makers".to_owned());
    let team = Team::new(id, name, now);
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
            environment_variables: BTreeMap::new(),
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
        environment_variables: BTreeMap::new(),
        metadata: BTreeMap::new(),
    }
}

pub(crate) fn saying(text: &str) -> Action {
    sending(EventBody::UserMessage { content: vec![ContentBlock::text(text)] })
}

pub(crate) fn interrupting() -> Action {
    sending(EventBody::UserInterrupt {})
}

fn sending(body: EventBody) -> Action {
    let events = [ClientEvent { id: EventId::mint(&SystemIds), body }];
    Action::SendEvents(SendEvents { events: serde_json::to_vec(&events).unwrap() })
}

pub(crate) fn journal(epoch: u64, entries: &[(u64, Entry)]) -> Action {
    let entries = entries.iter().map(|(number, entry)| JournalEntry {
        number: *number,
        body: serde_json::to_vec(entry).unwrap(),
    });
    let sandbox_id = Uuid::now_v7().to_string();
    Action::AppendJournal(AppendJournal { epoch, sandbox_id, entries: entries.collect() })
}

pub(crate) fn started_turn(command: SandboxCommand) -> (Uuid, u64) {
    match command.action {
        Some(sandbox_command::Action::StartTurn(start)) => {
            (start.turn_id.parse().unwrap(), command.epoch)
        }
        other => panic!("no StartTurn but {other:?}"),
    }
}

/// The links of all sandboxes: what is routed there arrives here.
pub(crate) async fn hold_links(
    house: &House,
    sandbox: &str,
) -> mpsc::UnboundedReceiver<SandboxCommand> {
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
