//! The gateway under test.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web::Data;
use api_gateway::caller::Keys;
use api_gateway::commands::Commands;
use api_gateway::figures::Figures;
use api_gateway::harnesses::Harnesses;
use api_gateway::models::Models;
use api_gateway::platform::Platform;
use api_gateway::server;
use api_gateway::stream::Hub;
use platform_core::clock::{Clock, IdSource};
use platform_messaging::Broker;
use platform_runtime::clock::{SystemClock, SystemIds};
use platform_runtime::health::Health;
use platform_runtime::metrics::Metrics;
use platform_runtime::settings::{GatewaySettings, HttpSettings};
use platform_storage::Database;
use secrecy::SecretString;
use serde_json::json;
use test_support::{TestBroker, TestDatabase};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Actor, FakeSessionService, GatewayProcess, fake_litellm};

pub const MASTER_KEY: &str = "the-administrator-of-a-test";

/// A gateway with a database and a broker of its own. Everything ends when it is dropped.
pub struct Gateway {
    pub url: String,
    pub broker: Broker,
    pub test_broker: TestBroker,
    pub fake: FakeSessionService,
    _end: DropGuard,
    database: Option<TestDatabase>,
}

impl Gateway {
    /// With a fake session-service behind it.
    pub async fn start() -> Self {
        let gateway = Self::start_alone().await;
        gateway.fake.run();
        gateway
    }

    /// With nobody who carries out commands.
    pub async fn start_alone() -> Self {
        let database = TestDatabase::create().await.unwrap();
        let url = database.url().to_owned();
        Self::start_on(&url, Some(database)).await
    }

    /// With a database that cannot be reached.
    pub async fn start_without_database() -> Self {
        Self::start_on("postgres://nobody@127.0.0.1:1/nothing", None).await
    }

    async fn start_on(database: &str, test_database: Option<TestDatabase>) -> Self {
        let test_broker = TestBroker::create().await.unwrap();
        let end = CancellationToken::new();
        let database = Database::connect(database, 4).unwrap();
        let address = SecretString::from(test_broker.url());
        let broker = Broker::connect(&address, "gateway-test").await.unwrap();
        broker.declare_topology().await.unwrap();
        let fake = FakeSessionService::new(database.clone(), test_broker.url(), end.clone()).await;
        let url = serve(database, &broker, &end);
        Self { url, broker, test_broker, fake, _end: end.drop_guard(), database: test_database }
    }

    pub fn anonymous(&self) -> Actor {
        Actor::new(&self.url, None)
    }

    pub fn with_key(&self, key: &str) -> Actor {
        Actor::new(&self.url, Some(key))
    }

    pub fn administrator(&self) -> Actor {
        self.with_key(MASTER_KEY)
    }

    /// Another gateway beside it.
    pub async fn replica(&self) -> Replica {
        let end = CancellationToken::new();
        let database = Database::connect(self.database.as_ref().unwrap().url(), 4).unwrap();
        let address = SecretString::from(self.test_broker.url());
        let broker = Broker::connect(&address, "replica-test").await.unwrap();
        Replica { url: serve(database, &broker, &end), _end: end.drop_guard() }
    }

    /// Another gateway beside it, in a process of its own.
    pub async fn process(&self) -> GatewayProcess {
        GatewayProcess::start(self.database.as_ref().unwrap().url(), self.test_broker.url()).await
    }

    /// How many requests with an `Idempotency-Key` have their answer kept.
    pub async fn kept_answers(&self) -> i64 {
        let database = self.database.as_ref().unwrap().connect().await.unwrap();
        let query = "select count(*) from idempotency_keys where response is not null";
        database.query_one(query, &[]).await.unwrap().get(0)
    }

    /// The holder of a key of a new team.
    pub async fn team(&self, name: &str) -> Actor {
        let administrator = self.administrator();
        let team = administrator.post("/v1/teams", json!({"name": name})).await.ok();
        let key = json!({"team_id": team["id"], "name": "test"});
        let key = administrator.post("/v1/api_keys", key).await.ok();
        self.with_key(key["key"].as_str().unwrap())
    }
}

/// A further gateway, which ends when it is dropped.
pub struct Replica {
    pub url: String,
    _end: DropGuard,
}

fn serve(database: Database, broker: &Broker, end: &CancellationToken) -> String {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ids: Arc<dyn IdSource> = Arc::new(SystemIds);
    let gateway = GatewaySettings { url: fake_litellm::start(), api_key: None };
    let hub = Hub::new(broker);
    tokio::spawn(hub.clone().run(end.clone()));
    let master = SecretString::from(MASTER_KEY);
    let platform = Data::new(Platform {
        commands: Commands::new(broker.clone()).with_patience(Duration::from_secs(2)),
        hub,
        keys: Keys::new(database.clone(), clock.clone(), ids.clone(), &master),
        harnesses: Harnesses::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/harnesses"))
            .unwrap(),
        models: Models::new(gateway).unwrap(),
        figures: Figures::default(),
        database,
        clock,
        ids,
        shutdown: end.clone(),
    });
    let http = HttpSettings { host: IpAddr::V4(Ipv4Addr::LOCALHOST), port: 0 };
    let health = Health::new(end.clone());
    let checked = platform.database.clone();
    health.add("database", move || {
        let database = checked.clone();
        async move { database.ping().await.map_err(|failure| failure.to_string()) }
    });
    let (server, addresses) = server::server(platform, http, health, Metrics::default()).unwrap();
    tokio::spawn(server);
    format!("http://{}", addresses[0])
}
