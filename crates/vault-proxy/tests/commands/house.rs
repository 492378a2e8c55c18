//! A team with a session in a sandbox, and whoever answers commands about it.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use platform_core::agent::{Agent, AgentDefinition};
use platform_core::clock::Clock;
use platform_core::credential::{Credential, CredentialAuth, Vault};
use platform_core::egress::{Alarm, EgressDecision};
use platform_core::environment::{
    Environment, EnvironmentConfig, Networking, Packages, SandboxSpec,
};
use platform_core::id::{Id, SandboxId, SecretId};
use platform_core::sandbox::{Backend, Epoch, Sandbox, SandboxState};
use platform_core::session::Session;
use platform_core::team::Team;
use platform_core::variable::Variables;
use platform_messaging::proto::egress::egress_command::Action;
use platform_messaging::proto::egress::{EgressCommand, EgressReply};
use platform_messaging::{Incoming, Verdict, decode, encode};
use platform_runtime::clock::{SystemClock, SystemIds};
use platform_runtime::lifecycle::{Shutdown, Tasks};
use platform_runtime::settings::ContainerVariables;
use platform_sealing::{Binding, EncryptionKeys};
use platform_storage::sandbox::SandboxIdentity;
use platform_storage::secret::StoredSecret;
use platform_storage::{
    Database, agent, credential, environment, sandbox as sandboxes, secret, session, team, vault,
};
use secrecy::SecretString;
use serde_json::json;
use test_support::TestDatabase;
use uuid::Uuid;
use vault_proxy::commands::{Desk, carry_out};
use vault_proxy::doors::{Doors, House as Behind};
use vault_proxy::model::forward::Gateway;
use vault_proxy::proxy::{Background, Outside, Surroundings, SystemResolver, Upstream};
use vault_proxy::rules::Witness;
use vault_proxy::secrets::platform::PlatformVariables;
use vault_proxy::secrets::refresh::{Refresher, stored_fingerprint};
use vault_proxy::secrets::session::Loader;

pub const KEY: &str = "a key of enough characters";

pub fn keys() -> EncryptionKeys {
    EncryptionKeys::new(&SecretString::from(KEY), &[]).unwrap()
}

struct Nobody;

impl Witness for Nobody {
    fn decided(&self, _decision: EgressDecision) {}

    fn alarm(&self, _identity: &SandboxIdentity, _sandbox: SandboxId, _alarm: Alarm) {}
}

pub fn desk_of(database: &Database, shutdown: &Shutdown) -> Desk {
    desk_with(database, shutdown, &ContainerVariables::default())
}

pub fn desk_with(database: &Database, shutdown: &Shutdown, container: &ContainerVariables) -> Desk {
    let (clock, ids) = (Arc::new(SystemClock), Arc::new(SystemIds));
    let outside = Arc::new(Outside::new(Arc::new(SystemResolver::new(None)), None).unwrap());
    let upstream = || Upstream::new(outside.clone(), Background::until(shutdown.token()));
    let refresher =
        || Refresher::new(database.clone(), keys(), upstream(), clock.clone(), ids.clone());
    let platform = PlatformVariables::new(container);
    let loader = Loader::new(database.clone(), keys(), platform, Vec::new());
    let loader = Arc::new(loader.with_refresher(refresher()));
    let witness: Arc<dyn Witness> = Arc::new(Nobody);
    let gateway = Gateway::new("http://127.0.0.1:9".to_owned(), None).unwrap();
    let models = crate::models::models(Arc::new(database.clone()), gateway, witness.clone());
    let surroundings = Surroundings {
        rules: loader.clone(),
        witness,
        outside: outside.clone(),
        clock: clock.clone(),
        ids: ids.clone(),
    };
    let house = Behind { models, surroundings, keys: keys() };
    Desk {
        doors: Doors::new(house, None, Tasks::new(shutdown.clone()), shutdown.token()),
        database: database.clone(),
        keys: keys(),
        loader,
        upstream: upstream(),
        refresher: refresher(),
        outside,
        session_keys: None,
        clock,
    }
}

pub async fn ask(desk: &Desk, sandbox_id: &str, action: Action) -> EgressReply {
    let command = EgressCommand {
        command_id: Uuid::now_v7().to_string(),
        sandbox_id: sandbox_id.to_owned(),
        action: Some(action),
    };
    let message = Incoming {
        exchange: String::new(),
        routing_key: String::new(),
        kind: String::new(),
        message_id: String::new(),
        body: encode(&command).into(),
        delivery_count: 0,
        wants_answer: true,
        traceparent: None,
    };
    let Verdict::Answer(body) = carry_out(desk, &message).await else { panic!("no answer") };
    decode::<EgressReply>(&body).unwrap()
}

fn new_id<T>() -> Id<T> {
    Id::from_uuid(Uuid::now_v7())
}

fn now() -> DateTime<Utc> {
    SystemClock.now()
}

/// What a test wants to be different.
#[derive(Default)]
pub struct Plan {
    pub internal_hosts: Vec<String>,
    pub networking: Networking,
    pub of_environment: Variables,
    pub of_agent: Variables,
    pub of_session: Variables,
}

pub struct House {
    pub database: Database,
    pub team: Team,
    pub vault: Vault,
    pub environment: Environment,
    pub session: Session,
    pub sandbox: SandboxId,
    /// Dropped last: it removes the database.
    server: TestDatabase,
}

impl House {
    /// `plan` is made once there is a team whose secrets it can name.
    pub async fn build(plan: impl AsyncFnOnce(&Sealer) -> Plan) -> Self {
        let server = TestDatabase::create().await.unwrap();
        let database = Database::connect(server.url(), 4).unwrap();
        let mut team = Team::new(new_id(), "acme".to_owned(), now());
        let mut connection = database.connection().await.unwrap();
        team::insert(&mut connection, &team).await.unwrap();
        let sealer = Sealer { database: database.clone(), team: team.clone() };
        let plan = plan(&sealer).await;
        team.internal_hosts =
            plan.internal_hosts.iter().map(|host| host.parse().unwrap()).collect();
        team::set_internal_hosts(&mut connection, team.id, &team.internal_hosts).await.unwrap();
        let definition = json!({ "name": "a", "model": { "id": "demo" }, "harness": "opencode" });
        let mut definition: AgentDefinition = serde_json::from_value(definition).unwrap();
        definition.environment_variables = plan.of_agent;
        let writer = Agent {
            id: new_id(),
            team_id: team.id,
            version: 1,
            definition,
            created_at: now(),
            updated_at: now(),
            archived_at: None,
        };
        agent::insert(&mut connection, &writer).await.unwrap();
        let environment = Environment {
            id: new_id(),
            team_id: team.id,
            name: "default".to_owned(),
            description: None,
            config: EnvironmentConfig::Cloud {
                networking: plan.networking,
                packages: Packages::default(),
                environment_variables: plan.of_environment,
                sandbox: SandboxSpec::default(),
            },
            scope: None,
            metadata: BTreeMap::new(),
            created_at: now(),
            updated_at: now(),
            archived_at: None,
        };
        environment::insert(&mut connection, &environment).await.unwrap();
        let vault = Vault {
            id: new_id(),
            team_id: team.id,
            display_name: "v".to_owned(),
            metadata: BTreeMap::new(),
            created_at: now(),
            updated_at: now(),
            archived_at: None,
        };
        vault::insert(&mut connection, &vault).await.unwrap();
        let mut session = Session::new(new_id(), team.id, writer.snapshot(), environment.id, now());
        session.vault_ids = vec![vault.id.to_string()];
        session.environment_variables = plan.of_session;
        session::insert(&mut connection, &session).await.unwrap();
        let sandbox = claimed(&environment, &session);
        sandboxes::insert_queued(&mut connection, &sandbox).await.unwrap();
        drop(connection);
        let sandbox = sandbox.id;
        Self { database, team, vault, environment, session, sandbox, server }
    }

    pub fn url(&self) -> &str {
        self.server.url()
    }

    pub fn sealer(&self) -> Sealer {
        Sealer { database: self.database.clone(), team: self.team.clone() }
    }

    /// A sandbox of another session of the same environment.
    pub async fn claim(&self, session: &Session) -> SandboxId {
        let sandbox = claimed(&self.environment, session);
        let mut connection = self.database.connection().await.unwrap();
        sandboxes::insert_queued(&mut connection, &sandbox).await.unwrap();
        sandbox.id
    }

    /// Another sandbox, which waits for a session.
    pub async fn add_unclaimed(&self) -> SandboxId {
        let unclaimed = Sandbox {
            team_id: None,
            session_id: None,
            agent_id: None,
            epoch: None,
            state: SandboxState::Warm,
            ..claimed(&self.environment, &self.session)
        };
        let mut connection = self.database.connection().await.unwrap();
        sandboxes::insert_unclaimed(&mut connection, &unclaimed).await.unwrap();
        unclaimed.id
    }

    pub async fn add_credential(&self, auth: CredentialAuth) -> Credential {
        let credential = Credential {
            id: new_id(),
            team_id: self.team.id,
            vault_id: self.vault.id,
            display_name: None,
            auth,
            metadata: BTreeMap::new(),
            created_at: now(),
            updated_at: now(),
            archived_at: None,
        };
        let mut connection = self.database.connection().await.unwrap();
        credential::insert(&mut connection, &credential).await.unwrap();
        credential
    }
}

fn claimed(environment: &Environment, session: &Session) -> Sandbox {
    Sandbox {
        id: new_id(),
        team_id: Some(session.team_id),
        session_id: Some(session.id),
        agent_id: Some(session.agent_id),
        epoch: Some(Epoch(1)),
        environment_id: environment.id,
        harness: session.agent.definition.harness.clone(),
        backend: Backend::Local,
        host: "here".to_owned(),
        state: SandboxState::Claimed,
        spec: SandboxSpec::default(),
        detail: json!({}),
        token_hash: None,
        exit_reason: None,
        created_at: now(),
        ready_at: None,
        gone_at: None,
    }
}

/// Stores secrets of a team.
pub struct Sealer {
    database: Database,
    team: Team,
}

impl Sealer {
    pub async fn seal(&self, value: &str) -> SecretId {
        self.seal_under(&keys(), value).await
    }

    pub async fn seal_under(&self, keys: &EncryptionKeys, value: &str) -> SecretId {
        let id = new_id();
        let binding = Binding { team: self.team.id, secret: id };
        let sealed = keys.seal(binding, value.as_bytes()).unwrap();
        let stored = StoredSecret {
            id,
            sealed_as: id,
            team_id: self.team.id,
            owner_id: Uuid::now_v7(),
            name: "secret".to_owned(),
            sealed: sealed.bytes,
            key_id: sealed.key.to_string(),
            fingerprint: stored_fingerprint(keys, value.as_bytes()),
            created_at: now(),
        };
        let mut connection = self.database.connection().await.unwrap();
        secret::insert(&mut connection, &[stored]).await.unwrap();
        id
    }
}
