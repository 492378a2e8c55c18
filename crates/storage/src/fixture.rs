//! A database with one team in it, for the tests of every noun.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use platform_core::agent::{Agent, AgentDefinition};
use platform_core::credential::{
    Credential, CredentialAuth, CredentialNetworking, InjectionLocation, Vault,
};
use platform_core::environment::{
    Environment, EnvironmentConfig, Networking, Packages, SandboxSpec,
};
use platform_core::id::{EnvironmentId, EventId, Id, TeamId, TurnId};
use platform_core::sandbox::{Backend, Epoch, Sandbox, SandboxState};
use platform_core::session::{ContentBlock, Event, EventBody, Session};
use platform_core::team::Team;
use platform_core::turn::{Turn, TurnState};
use serde_json::json;
use test_support::TestDatabase;
use uuid::Uuid;

use crate::secret::{StoredFingerprint, StoredSecret};
use crate::{
    Database, Order, PageRequest, PooledConnection, Position, agent, environment, session, team,
};

pub(crate) const HOST: &str = "machine-1";

/// The database, and a team with an agent and an environment in it.
pub(crate) struct Fixture {
    pub(crate) database: Database,
    pub(crate) team: Team,
    pub(crate) agent: Agent,
    pub(crate) environment: Environment,
    /// Dropped last: it removes the database.
    pub(crate) server: TestDatabase,
}

impl Fixture {
    pub(crate) async fn create() -> Self {
        let server = TestDatabase::create().await.unwrap();
        let database = Database::connect(server.url(), 8).unwrap();
        let team = new_team("acme");
        let agent = new_agent(&team);
        let environment = new_environment(&team, "default");
        let mut connection = database.connection().await.unwrap();
        team::insert(&mut connection, &team).await.unwrap();
        agent::insert(&mut connection, &agent).await.unwrap();
        environment::insert(&mut connection, &environment).await.unwrap();
        drop(connection);
        Self { database, team, agent, environment, server }
    }

    pub(crate) async fn connection(&self) -> PooledConnection {
        self.database.connection().await.unwrap()
    }

    /// A session that is not stored.
    pub(crate) fn session(&self) -> Session {
        let agent = self.agent.snapshot();
        let new = Session::new(new_id(), self.team.id, agent, self.environment.id, at(0));
        let metadata = BTreeMap::from([("ticket".to_owned(), "42".to_owned())]);
        Session { metadata, ..new }
    }

    pub(crate) async fn stored_session(&self) -> Session {
        let session = self.session();
        assert!(session::insert(&mut *self.connection().await, &session).await.unwrap());
        session
    }

    /// A queued sandbox that is not stored.
    pub(crate) fn sandbox(&self, session: &Session, epoch: u64) -> Sandbox {
        Sandbox {
            team_id: Some(session.team_id),
            session_id: Some(session.id),
            agent_id: Some(session.agent_id),
            epoch: Some(Epoch(epoch)),
            state: SandboxState::Queued,
            ..new_warm_sandbox(self.environment.id)
        }
    }
}

pub(crate) fn new_id<T>() -> Id<T> {
    Id::from_uuid(Uuid::now_v7())
}

/// So many seconds after an arbitrary beginning.
pub(crate) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(20_000) + TimeDelta::seconds(seconds)
}

pub(crate) fn first_page(limit: u32) -> PageRequest {
    PageRequest { position: Position::Start, order: Order::default(), limit }
}

pub(crate) fn new_team(name: &str) -> Team {
    Team::new(new_id(), name.to_owned(), at(0))
}

pub(crate) fn new_definition(name: &str) -> AgentDefinition {
    let definition = json!({ "name": name, "model": { "id": "demo" }, "harness": "opencode" });
    serde_json::from_value(definition).unwrap()
}

pub(crate) fn new_agent(team: &Team) -> Agent {
    Agent {
        id: new_id(),
        team_id: team.id,
        version: 1,
        definition: new_definition("writer"),
        created_at: at(0),
        updated_at: at(0),
        archived_at: None,
    }
}

pub(crate) fn new_environment(team: &Team, name: &str) -> Environment {
    Environment {
        id: new_id(),
        team_id: team.id,
        name: name.to_owned(),
        description: None,
        config: EnvironmentConfig::Cloud {
            networking: Networking::Unrestricted,
            packages: Packages::default(),
            environment_variables: BTreeMap::new(),
            sandbox: SandboxSpec::default(),
        },
        scope: None,
        metadata: BTreeMap::new(),
        created_at: at(0),
        updated_at: at(0),
        archived_at: None,
    }
}

pub(crate) fn new_warm_sandbox(environment: EnvironmentId) -> Sandbox {
    Sandbox {
        id: new_id(),
        team_id: None,
        session_id: None,
        agent_id: None,
        epoch: None,
        environment_id: environment,
        harness: new_definition("any").harness,
        backend: Backend::Local,
        host: HOST.to_owned(),
        state: SandboxState::Warm,
        spec: SandboxSpec::default(),
        detail: json!({ "note": "mine" }),
        token_hash: None,
        exit_reason: None,
        created_at: at(0),
        ready_at: None,
        gone_at: None,
    }
}

pub(crate) fn new_turn(ordinal: i64, event_number: i64) -> Turn {
    Turn {
        id: new_id(),
        ordinal,
        event_number,
        state: TurnState::Queued,
        attempts: 0,
        actions: Vec::new(),
        interrupt_requested: false,
        created_at: at(ordinal),
        started_at: None,
    }
}

pub(crate) fn user_message(number: i64, turn: Option<TurnId>, text: &str) -> Event {
    let body = EventBody::UserMessage { content: vec![ContentBlock::text(text)] };
    Event {
        id: EventId::from_uuid(Uuid::now_v7()),
        number,
        turn_id: turn,
        processed_at: None,
        body,
    }
}

pub(crate) fn new_vault(team: TeamId, second: i64) -> Vault {
    Vault {
        id: new_id(),
        team_id: team,
        display_name: "a vault".to_owned(),
        metadata: BTreeMap::new(),
        created_at: at(second),
        updated_at: at(second),
        archived_at: None,
    }
}

pub(crate) fn new_credential(vault: &Vault, second: i64) -> Credential {
    Credential {
        id: new_id(),
        team_id: vault.team_id,
        vault_id: vault.id,
        display_name: Some("deploys".to_owned()),
        auth: CredentialAuth::EnvironmentVariable {
            secret_name: "DEPLOY_TOKEN".to_owned(),
            secret_value: new_id(),
            networking: CredentialNetworking::Limited {
                allowed_hosts: vec!["*.example.com:8443".parse().unwrap()],
            },
            injection_location: InjectionLocation::default(),
        },
        metadata: BTreeMap::new(),
        created_at: at(second),
        updated_at: at(second),
        archived_at: None,
    }
}

pub(crate) fn new_secret(team: TeamId, owner_id: Uuid) -> StoredSecret {
    let id = new_id();
    StoredSecret {
        id,
        sealed_as: id,
        team_id: team,
        owner_id,
        name: "DEPLOY_TOKEN".to_owned(),
        sealed: vec![0, 1, 255],
        key_id: "0123456789abcdef".to_owned(),
        fingerprint: Some(StoredFingerprint { length: 20, head: 7, digest: vec![1, 2] }),
        created_at: at(1),
    }
}
