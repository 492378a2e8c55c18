//! A database with a team in it, a broker whose commands are listened to, and workers with a clock that is moved by hand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use platform_core::agent::{Agent, AgentDefinition};
use platform_core::clock::{Clock, IdSource};
use platform_core::environment::{
    Environment, EnvironmentConfig, Networking, Packages, SandboxSpec,
};
use platform_core::id::{AgentId, EnvironmentId, Id, SandboxId, SessionId, TeamId};
use platform_core::sandbox::{Backend, Epoch, Sandbox, SandboxState};
use platform_core::session::Session;
use platform_messaging::proto::sandbox::SandboxCommand;
use platform_messaging::proto::session::session_reply::Outcome;
use platform_messaging::proto::session::{Done, Refused, SessionCommand, SessionReply};
use platform_messaging::topology::Queue;
use platform_messaging::{Broker, Incoming, Verdict, decode, encode};
use platform_runtime::clock::SystemIds;
use platform_storage::outbox::{self, OutboxMessage};
use platform_storage::{Database, agent, environment, sandbox, session, team};
use secrecy::SecretString;
use serde_json::json;
use test_support::{TestBroker, TestDatabase};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;
use worker::jobs::Context;

/// How long a test waits for what never comes.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct House {
    pub(crate) server: TestDatabase,
    pub(crate) database: Database,
    pub(crate) broker: Broker,
    pub(crate) clock: Arc<MovedClock>,
    team: TeamId,
    agent: Agent,
    environment: EnvironmentId,
    pub(crate) session_commands: mpsc::UnboundedReceiver<SessionCommand>,
    /// With their message ids.
    pub(crate) sandbox_commands: mpsc::UnboundedReceiver<(Uuid, SandboxCommand)>,
    _listening: DropGuard,
    _broker: TestBroker,
}

/// Stands still unless it is moved.
pub(crate) struct MovedClock(Mutex<DateTime<Utc>>);

impl Clock for MovedClock {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap()
    }
}

impl MovedClock {
    pub(crate) fn forward(&self, by: TimeDelta) {
        *self.0.lock().unwrap() += by;
    }
}

impl House {
    /// Session-service says yes to everything.
    pub(crate) async fn build() -> Self {
        Self::build_with(Outcome::Done(Done {})).await
    }

    /// Session-service refuses everything.
    pub(crate) async fn build_refusing() -> Self {
        Self::build_with(Outcome::Refused(Refused::default())).await
    }

    async fn build_with(outcome: Outcome) -> Self {
        let server = TestDatabase::create().await.unwrap();
        let vhost = TestBroker::create().await.unwrap();
        let database = Database::connect(server.url(), 8).unwrap();
        let url = SecretString::from(vhost.url().to_owned());
        let broker = Broker::connect(&url, "test").await.unwrap();
        broker.declare_topology().await.unwrap();
        let end = CancellationToken::new();
        let answer = encode(&SessionReply { outcome: Some(outcome) });
        let (heard, session_commands) = mpsc::unbounded_channel();
        listen(&broker, Queue::SESSION_COMMANDS, &end, move |incoming| {
            heard.send(decode(&incoming.body).unwrap()).unwrap();
            Verdict::Answer(answer.clone())
        });
        let (heard, sandbox_commands) = mpsc::unbounded_channel();
        listen(&broker, Queue::SANDBOX_COMMANDS, &end, move |incoming| {
            let id = incoming.message_id.parse().unwrap();
            heard.send((id, decode(&incoming.body).unwrap())).unwrap();
            Verdict::Done
        });
        let clock = Arc::new(MovedClock(Mutex::new(at(0))));
        let (team, agent, environment) = define(&database).await;
        Self {
            server,
            database,
            broker,
            clock,
            team,
            agent,
            environment,
            session_commands,
            sandbox_commands,
            _listening: end.drop_guard(),
            _broker: vhost,
        }
    }

    /// One more replica of the worker.
    pub(crate) fn worker(&self) -> Context {
        Context {
            database: self.database.clone(),
            broker: self.broker.clone(),
            clock: self.clock.clone(),
            ids: Arc::new(SystemIds),
            egress_kept: Duration::from_hours(30 * 24),
            holder: SystemIds.uuid(),
        }
    }

    /// An idle session with a sandbox, changed as wanted.
    pub(crate) async fn session(&self, change: impl FnOnce(&mut Session)) -> Session {
        let (id, agent) = (SessionId::mint(&SystemIds), self.agent.snapshot());
        let mut session = Session {
            epoch: Epoch(3),
            sandbox_id: Some(SandboxId::mint(&SystemIds)),
            ..Session::new(id, self.team, agent, self.environment, at(0))
        };
        change(&mut session);
        let mut connection = self.database.connection().await.unwrap();
        assert!(session::insert(&mut connection, &session).await.unwrap());
        session
    }

    pub(crate) async fn sandbox(
        &self,
        session: &Session,
        epoch: u64,
        state: SandboxState,
    ) -> Sandbox {
        let sandbox = Sandbox {
            id: SandboxId::mint(&SystemIds),
            team_id: Some(session.team_id),
            session_id: Some(session.id),
            agent_id: Some(session.agent_id),
            epoch: Some(Epoch(epoch)),
            environment_id: session.environment_id,
            harness: self.agent.definition.harness.clone(),
            backend: Backend::Local,
            host: "machine".to_owned(),
            state,
            spec: SandboxSpec::default(),
            detail: json!({}),
            token_hash: None,
            exit_reason: None,
            created_at: at(0),
            ready_at: None,
            gone_at: None,
        };
        let mut connection = self.database.connection().await.unwrap();
        sandbox::insert_unclaimed(&mut connection, &sandbox).await.unwrap();
        sandbox
    }

    pub(crate) async fn put(&self, messages: &[OutboxMessage]) {
        let mut connection = self.database.connection().await.unwrap();
        outbox::put(&mut connection, messages).await.unwrap();
    }

    pub(crate) async fn told_session_service(&mut self) -> SessionCommand {
        tokio::time::timeout(PATIENCE, self.session_commands.recv()).await.unwrap().unwrap()
    }

    /// The id of the message, and the command in it.
    pub(crate) async fn told_sandbox_service(&mut self) -> (Uuid, SandboxCommand) {
        tokio::time::timeout(PATIENCE, self.sandbox_commands.recv()).await.unwrap().unwrap()
    }

    pub(crate) async fn execute(&self, statements: &str) {
        self.server.connect().await.unwrap().batch_execute(statements).await.unwrap();
    }

    pub(crate) async fn count(&self, table: &str) -> i64 {
        let client = self.server.connect().await.unwrap();
        client.query_one(&format!("select count(*) from {table}"), &[]).await.unwrap().get(0)
    }
}

/// So many seconds after an arbitrary beginning.
pub(crate) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(20_000) + TimeDelta::seconds(seconds)
}

fn listen(
    broker: &Broker,
    queue: Queue,
    end: &CancellationToken,
    hear: impl Fn(Incoming) -> Verdict + Send + Sync + 'static,
) {
    let (broker, end) = (broker.clone(), end.clone());
    tokio::spawn(async move {
        // One at a time, so that what is heard is in the queue's order.
        broker.consume(queue, 64, 1, end, move |incoming| std::future::ready(hear(incoming))).await;
    });
}

async fn define(database: &Database) -> (TeamId, Agent, EnvironmentId) {
    let mut connection = database.connection().await.unwrap();
    let team = TeamId::mint(&SystemIds);
    let named = team::ensure_default(&mut connection, team, at(0)).await.unwrap();
    let definition = json!({ "name": "writer", "model": { "id": "demo" }, "harness": "opencode" });
    let definition: AgentDefinition = serde_json::from_value(definition).unwrap();
    let agent = Agent {
        id: AgentId::mint(&SystemIds),
        team_id: named.id,
        version: 1,
        definition,
        created_at: at(0),
        updated_at: at(0),
        archived_at: None,
    };
    agent::insert(&mut connection, &agent).await.unwrap();
    let sandbox = SandboxSpec { idle_timeout_seconds: Some(60), ..SandboxSpec::default() };
    let environment = Environment {
        id: Id::mint(&SystemIds),
        team_id: named.id,
        name: "default".to_owned(),
        description: None,
        config: EnvironmentConfig::Cloud {
            networking: Networking::Unrestricted,
            packages: Packages::default(),
            environment_variables: BTreeMap::new(),
            sandbox,
        },
        scope: None,
        metadata: BTreeMap::new(),
        created_at: at(0),
        updated_at: at(0),
        archived_at: None,
    };
    environment::insert(&mut connection, &environment).await.unwrap();
    (named.id, agent, environment.id)
}
