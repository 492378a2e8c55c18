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
use api_gateway::sealer::Sealer;
use api_gateway::server;
use api_gateway::stream::Hub;
use platform_core::clock::{Clock, IdSource};
use platform_core::id::Id;
use platform_messaging::Broker;
use platform_runtime::clock::{SystemClock, SystemIds};
use platform_runtime::health::Health;
use platform_runtime::metrics::Metrics;
use platform_runtime::settings::{GatewaySettings, HttpSettings};
use platform_sealing::{Binding, EncryptionKeys, KeyId, Sealed};
use platform_storage::Database;
use secrecy::SecretString;
use serde_json::json;
use test_support::{TestBroker, TestDatabase};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::{Actor, FakeSessionService, GatewayProcess, fake_litellm};

pub const MASTER_KEY: &str = "the-administrator-of-a-test";
pub const ENCRYPTION_KEY: &str = "what-the-secrets-of-a-test-are-sealed-under";

fn encryption_keys() -> EncryptionKeys {
    EncryptionKeys::new(&SecretString::from(ENCRYPTION_KEY), &[]).unwrap()
}

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

    /// The same after `ENCRYPTION_KEY` was changed.
    pub async fn rotated_process(&self, encryption_key: &str) -> GatewayProcess {
        let database = self.database.as_ref().unwrap().url();
        GatewayProcess::rotated(database, self.test_broker.url(), encryption_key).await
    }

    /// What a gateway says that is started with another key and ends by itself.
    pub async fn refused_process(&self, encryption_key: &str) -> String {
        let database = self.database.as_ref().unwrap().url();
        GatewayProcess::refused(database, self.test_broker.url(), encryption_key).await
    }

    /// How many requests with an `Idempotency-Key` have their answer kept.
    pub async fn kept_answers(&self) -> i64 {
        let database = self.database.as_ref().unwrap().connect().await.unwrap();
        let query = "select count(*) from idempotency_keys where response is not null";
        database.query_one(query, &[]).await.unwrap().get(0)
    }

    /// Every stored secret in clear, by name.
    pub async fn opened_secrets(&self) -> Vec<(String, String)> {
        let database = self.database.as_ref().unwrap().connect().await.unwrap();
        let query = "select name, team_id::text, id::text, key_id, sealed from secrets order by name, created_at";
        let rows = database.query(query, &[]).await.unwrap();
        let open = |row: &tokio_postgres::Row| {
            let id = |column| Uuid::parse_str(row.get(column)).unwrap();
            let binding = Binding { team: Id::from_uuid(id(1)), secret: Id::from_uuid(id(2)) };
            let sealed =
                Sealed { key: KeyId::from_stored(row.get::<_, String>(3)), bytes: row.get(4) };
            let value = encryption_keys().open(binding, &sealed).unwrap();
            (row.get(0), String::from_utf8(value.to_vec()).unwrap())
        };
        rows.iter().map(open).collect()
    }

    /// All that the database holds, as text; bytes in hexadecimal.
    pub async fn dump(&self) -> String {
        let database = self.database.as_ref().unwrap().connect().await.unwrap();
        let tables = "select table_name::text from information_schema.tables where table_schema = current_schema()";
        let mut dump = String::new();
        for table in database.query(tables, &[]).await.unwrap() {
            let table: String = table.get(0);
            let rows = format!("select t::text from \"{table}\" t");
            for row in database.query(&rows, &[]).await.unwrap() {
                dump.extend([table.as_str(), " ", row.get(0), "\n"]);
            }
        }
        dump
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
    let gateway =
        GatewaySettings { url: fake_litellm::start(), api_key: None, virtual_keys: false };
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
        sealer: Sealer::new(encryption_keys()),
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
