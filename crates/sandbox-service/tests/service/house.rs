//! A sandbox-service with everything around it; the test plays session-service and vault-proxy.

mod neighbours;
mod replica;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::Signal;
use platform_core::agent::{AgentDefinition, AgentSnapshot, Effort, ExecutionIdentity, Model};
use platform_core::clock::Clock;
use platform_core::environment::{Resources, SandboxSpec};
use platform_core::harness::HarnessName;
use platform_core::id::{AgentId, EnvironmentId, SandboxId, SessionId, TeamId};
use platform_core::sandbox::{Epoch, Sandbox, SandboxState, SessionSpec};
use platform_core::session::ForkedFrom;
use platform_core::team::Team;
use platform_messaging::proto::sandbox::sandbox_command::Action as Wish;
use platform_messaging::proto::sandbox::{ProvisionSandbox, SandboxCommand};
use platform_messaging::proto::session::Refused;
use platform_messaging::proto::session::session_command::Action;
use platform_messaging::topology::{Route, SANDBOX_COMMANDS, kind, sandbox_link};
use platform_messaging::{Broker, Delivered, Incoming, Outgoing, Verdict, encode};
use platform_runtime::clock::SystemClock;
use platform_storage::{Database, PooledConnection, sandbox as rows, team};
use sandbox_service::backend::local::layout::Layout;
use sandbox_service::commands;
use sandbox_service::service::Service;
use secrecy::SecretString;
use tempfile::TempDir;
use test_support::{TestBroker, TestDatabase};
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

pub use neighbours::HONEY;
use neighbours::{Heard, play_session_service, play_vault_proxy};
pub use replica::{Process, Running, host};
use replica::{make_files, start_service};

/// A word that nothing but a session's own content has.
pub const PLANTED: &str = "planted-7d1f0c";

/// What a test wants to be different.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    pub max_running: Option<usize>,
    pub warm_pool_size: u32,
    pub disk_mib: Option<u64>,
}

pub struct House {
    pub team: TeamId,
    agent: AgentId,
    pub environment: EnvironmentId,
    limits: Limits,
    database: Database,
    broker: Broker,
    folder: TempDir,
    layout: Layout,
    heard: Arc<Mutex<Heard>>,
    news: watch::Sender<u64>,
    read_startups: HashMap<SessionId, usize>,
    /// The replica that tests mean unless they say otherwise.
    first: Option<Running>,
    test_database: TestDatabase,
    test_broker: TestBroker,
}

impl Drop for House {
    fn drop(&mut self) {
        // Sandboxes are made to outlive their service; here they must not outlive their test.
        for folder in fs::read_dir(self.layout.sandboxes()).unwrap().flatten() {
            for room in ["supervise.pid", "init.pid"] {
                let pid = fs::read_to_string(folder.path().join(room)).unwrap_or_default();
                if let Ok(pid) = pid.trim().parse() {
                    let pid = nix::unistd::Pid::from_raw(pid);
                    let _gone = nix::sys::signal::kill(pid, Signal::SIGKILL);
                }
            }
        }
    }
}

impl House {
    pub async fn build(limits: Limits) -> Self {
        let test_database = TestDatabase::create().await.unwrap();
        let test_broker = TestBroker::create().await.unwrap();
        let database = Database::connect(test_database.url(), 8).unwrap();
        let url = SecretString::from(test_broker.url().to_owned());
        let broker = Broker::connect(&url, "test").await.unwrap();
        broker.declare_topology().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        make_files(&folder);
        let id = TeamId::from_uuid(Uuid::now_v7());
        let team = Team::new(id, "team".to_owned(), SystemClock.now());
        team::insert(&mut database.connection().await.unwrap(), &team).await.unwrap();

        let heard = Arc::<Mutex<Heard>>::default();
        let news = watch::Sender::new(0);
        play_session_service(&broker, heard.clone(), news.clone());
        play_vault_proxy(&broker, heard.clone(), news.clone());
        let layout = Layout::new(folder.path().join("data"));
        let first = start_service(&folder, limits, &database, &broker);
        Self {
            team: team.id,
            agent: AgentId::from_uuid(Uuid::now_v7()),
            environment: EnvironmentId::from_uuid(Uuid::now_v7()),
            limits,
            database,
            broker,
            first: Some(first),
            layout,
            folder,
            heard,
            news,
            read_startups: HashMap::new(),
            test_database,
            test_broker,
        }
    }

    /// The service ends as it would be upgraded, and another one begins.
    pub async fn replace_service(&mut self) {
        self.end_service().await;
        self.first = Some(self.start_beside());
    }

    /// Ends the first replica. What takes its place is not started yet.
    pub async fn end_service(&mut self) {
        self.first.take().unwrap().end().await;
    }

    pub fn service(&self) -> &Arc<Service> {
        &self.first.as_ref().unwrap().service
    }

    /// Another replica on the same machine.
    pub fn start_beside(&self) -> Running {
        start_service(&self.folder, self.limits, &self.database, &self.broker)
    }

    /// Another replica on the same machine, as a process of its own.
    pub fn start_process(&self) -> Process {
        Process::start(&self.folder, self.test_database.url(), self.test_broker.url())
    }

    /// Waits until the replica with this process takes links, and answers its socket.
    pub async fn socket_of(&self, process: &Process) -> PathBuf {
        loop {
            let sockets = fs::read_dir(self.layout.links()).unwrap().flatten();
            let mut paths = sockets.map(|entry| entry.path());
            let prefix = format!("{}-", process.pid);
            let is_its =
                |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(&prefix);
            if let Some(path) = paths.find(is_its) {
                return path;
            }
            tokio::task::yield_now().await;
        }
    }

    pub fn database(&self) -> &Database {
        &self.database
    }

    pub async fn somebody_waits_for_a_lock(&self) -> bool {
        let client = self.test_database.connect().await.unwrap();
        let waiting = "select from pg_locks where locktype = 'advisory' and not granted
            and database = (select oid from pg_database where datname = current_database())";
        !client.query(waiting, &[]).await.unwrap().is_empty()
    }

    /// Cuts the connection to the broker, which lists it only a while after it was made.
    pub async fn cut_broker(&self) {
        let mut attachments = self.service().link_queue().interruptions();
        attachments.mark_unchanged();
        let patience = Duration::from_millis(500);
        loop {
            self.test_broker.cut_connections().await.unwrap();
            if tokio::time::timeout(patience, attachments.changed()).await.is_ok() {
                return;
            }
        }
    }

    /// From now on vault-proxy carries nothing out, or again does.
    pub fn egress_is_away(&self, is_away: bool) {
        self.heard.lock().unwrap().is_egress_away = is_away;
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    pub fn link_socket(&self) -> PathBuf {
        let name = self.service().replica().name();
        self.layout.links().join(format!("{name}.sock"))
    }

    pub async fn connection(&self) -> PooledConnection {
        self.database.connection().await.unwrap()
    }

    /// Stores the session and asks for its sandbox.
    pub async fn provision(&self, session: SessionId, epoch: u64) {
        self.provision_fork(session, epoch, None).await;
    }

    /// `forked_from`: the session goes on from there.
    pub async fn provision_fork(
        &self,
        session: SessionId,
        epoch: u64,
        forked_from: Option<ForkedFrom>,
    ) {
        self.store_environment("{}").await;
        self.store_session(session).await;
        self.send(session, epoch, self.wish_for_sandbox(session, forked_from)).await;
    }

    pub fn wish_for_sandbox(&self, session: SessionId, forked_from: Option<ForkedFrom>) -> Wish {
        let session_spec = SessionSpec { forked_from, ..self.session_spec(session) };
        let usual = Resources::default();
        let disk_mib = self.limits.disk_mib.unwrap_or(usual.disk_mib);
        let sandbox_spec = SandboxSpec {
            warm_pool_size: self.limits.warm_pool_size,
            resources: Resources { disk_mib, ..usual },
            ..SandboxSpec::default()
        };
        Wish::Provision(ProvisionSandbox {
            environment_id: self.environment.uuid().to_string(),
            sandbox_spec: serde_json::to_vec(&sandbox_spec).unwrap(),
            session_spec: serde_json::to_vec(&session_spec).unwrap(),
        })
    }

    pub async fn send(&self, session: SessionId, epoch: u64, wish: Wish) {
        let delivered = self.publish(SANDBOX_COMMANDS, session, epoch, wish).await;
        assert_eq!(delivered, Delivered::Routed);
    }

    /// As session-service sends to the replica that holds a link.
    pub async fn to_link(&self, sandbox: SandboxId, session: SessionId, wish: Wish) -> Delivered {
        self.publish(sandbox_link(sandbox), session, 1, wish).await
    }

    /// As [`House::to_link`], while the broker may be away.
    pub async fn to_link_patiently(
        &self,
        sandbox: SandboxId,
        session: SessionId,
        wish: Wish,
    ) -> Delivered {
        while !self.broker.is_connected() {
            tokio::task::yield_now().await;
        }
        self.to_link(sandbox, session, wish).await
    }

    /// Carries the command out at once, as if it had been tried again until now.
    pub async fn carry_out(&self, session: SessionId, epoch: u64, wish: Wish) -> Verdict {
        let message = Incoming {
            exchange: String::new(),
            routing_key: String::new(),
            kind: kind::SANDBOX_COMMAND.to_owned(),
            message_id: String::new(),
            body: self.command(session, epoch, wish).into(),
            delivery_count: 0,
            wants_answer: false,
            traceparent: None,
        };
        commands::carry_out(self.service(), &message).await
    }

    fn command(&self, session: SessionId, epoch: u64, wish: Wish) -> Vec<u8> {
        encode(&SandboxCommand {
            command_id: Uuid::now_v7().to_string(),
            team_id: self.team.uuid().to_string(),
            session_id: session.uuid().to_string(),
            epoch,
            action: Some(wish),
        })
    }

    async fn publish(&self, route: Route, session: SessionId, epoch: u64, wish: Wish) -> Delivered {
        let body = self.command(session, epoch, wish);
        let message = Outgoing::new(route, kind::SANDBOX_COMMAND, Uuid::now_v7(), body);
        self.broker.publish(message.mandatory()).await.unwrap()
    }

    fn session_spec(&self, session: SessionId) -> SessionSpec {
        let definition = AgentDefinition {
            name: PLANTED.to_owned(),
            description: None,
            model: Model {
                id: "demo".to_owned(),
                effort: Effort::high(),
                speed: None,
                inference_geo: None,
            },
            system: None,
            harness: HarnessName::parse("fake").unwrap(),
            tools: Vec::new(),
            mcp_servers: Vec::new(),
            skills: Vec::new(),
            multiagent: None,
            environment_variables: BTreeMap::new(),
            execution_identity: ExecutionIdentity::service_account(),
            metadata: BTreeMap::new(),
        };
        SessionSpec {
            session_id: session,
            team_id: self.team,
            agent: AgentSnapshot { id: self.agent, version: 1, definition },
            harness_session: None,
            environment: BTreeMap::new(),
            files: Vec::new(),
            transparent_ports: Vec::new(),
            transcript: Vec::new(),
            is_replacement: false,
            has_unfinished_turn: false,
            former_journal: None,
            forked_from: None,
        }
    }

    /// Waits for news until `look` finds something.
    async fn wait<T>(&self, mut look: impl FnMut(&mut Heard) -> Option<T>) -> T {
        let mut news = self.news.subscribe();
        loop {
            if let Some(found) = look(&mut self.heard.lock().unwrap()) {
                return found;
            }
            news.changed().await.unwrap();
        }
    }

    /// Waits for a phase that was not waited for before.
    pub async fn startup(&mut self, session: SessionId, phase: &str) {
        let read = self.read_startups.get(&session).copied().unwrap_or_default();
        let at = self
            .wait(|heard| {
                let all = heard.startups.get(&session)?;
                all.iter().skip(read).position(|(reached, _)| reached == phase)
            })
            .await;
        self.read_startups.insert(session, read + at + 1);
    }

    /// All phases so far, each once.
    pub fn phases(&self, session: SessionId) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        let mut phases: Vec<String> = heard
            .startups
            .get(&session)
            .into_iter()
            .flatten()
            .map(|(phase, _)| phase.clone())
            .collect();
        phases.dedup();
        phases
    }

    pub fn details(&self, session: SessionId) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        heard
            .startups
            .get(&session)
            .into_iter()
            .flatten()
            .map(|(_, detail)| detail.clone())
            .collect()
    }

    /// The next thing that session-service hears of the session beside phases.
    pub async fn next_but_startup(&self, session: SessionId) -> Action {
        self.wait(|heard| {
            let actions = heard.others.get_mut(&session).filter(|actions| !actions.is_empty())?;
            Some(actions.remove(0))
        })
        .await
    }

    /// What session-service heard of the session beside phases and was not waited for.
    pub fn others(&self, session: SessionId) -> Vec<Action> {
        self.heard.lock().unwrap().others.get(&session).cloned().unwrap_or_default()
    }

    /// Waits until so many of the sessions have heard their place in the queue.
    pub async fn told_to_wait(&self, sessions: &[SessionId], count: usize) {
        self.wait(|heard| {
            let waits = |session: &&SessionId| {
                let told = heard.startups.get(session).into_iter().flatten();
                told.into_iter().any(|(_, detail)| detail.contains("waiting for room"))
            };
            (sessions.iter().filter(waits).count() >= count).then_some(())
        })
        .await;
    }

    pub fn refuse_journals(&self, kind: &str, code: &str) {
        let refused =
            Refused { kind: kind.to_owned(), code: code.to_owned(), message: String::new() };
        self.heard.lock().unwrap().journal_refusal = Some(refused);
    }

    pub async fn egress_closed(&self, sandbox: SandboxId) {
        let id = sandbox.uuid().to_string();
        self.wait(|heard| heard.closed_egress.contains(&id).then_some(())).await;
    }

    pub async fn sandbox_of(&self, session: SessionId, epoch: u64) -> SandboxId {
        let mut connection = self.connection().await;
        let found =
            rows::find_by_session_epoch(&mut connection, self.team, session, Epoch(epoch)).await;
        found.unwrap().unwrap().id
    }

    /// Waits for a sandbox of the warm pool. Rows change without an event, so this looks until the test's own end.
    pub async fn unclaimed(&self) -> SandboxId {
        loop {
            let living = rows::list_living(&mut *self.connection().await, &host()).await.unwrap();
            let is_coming =
                |row: &Sandbox| row.session_id.is_none() && row.state != SandboxState::Stopping;
            if let Some(warm) = living.into_iter().find(is_coming) {
                return warm.id;
            }
        }
    }

    pub async fn warm(&self, sandbox: SandboxId) {
        while self.row(sandbox).await.state != SandboxState::Warm {}
    }

    pub async fn gone(&self, sandbox: SandboxId, reason: &str) {
        while self.row(sandbox).await.state != SandboxState::Gone {}
        assert_eq!(self.row(sandbox).await.exit_reason.as_deref(), Some(reason));
    }

    pub async fn workspace_gone(&self, session: SessionId) {
        while self.layout.workspace(session).root.exists() {
            tokio::task::yield_now().await;
        }
    }

    async fn row(&self, sandbox: SandboxId) -> Sandbox {
        rows::find(&mut *self.connection().await, sandbox).await.unwrap().unwrap()
    }

    /// Makes the session one that rests, as session-service would have stored it.
    pub async fn rest(&self, session: SessionId, sandbox: SandboxId, since: Duration) {
        self.store_environment("{}").await;
        self.store_session(session).await;
        let idle_since = (SystemClock.now() - since).to_rfc3339();
        let (sandbox, session) = (sandbox.uuid(), session.uuid());
        self.execute(&format!(
            "update sessions set sandbox_id = '{sandbox}', idle_since = '{idle_since}' where id = '{session}'"
        ))
        .await;
    }

    /// The house's environment, with the agent that all its sessions have. The first one counts.
    pub async fn store_environment(&self, config: &str) {
        let (team, agent, environment) =
            (self.team.uuid(), self.agent.uuid(), self.environment.uuid());
        self.execute(&format!(
            "insert into agents values ('{agent}', '{team}', 1, now(), now(), null)
                 on conflict do nothing;
             insert into environments (id, team_id, name, config, metadata, created_at, updated_at)
                 values ('{environment}', '{team}', 'e', '{config}', '{{}}', now(), now())
                 on conflict do nothing"
        ))
        .await;
    }

    pub async fn store_session(&self, session: SessionId) {
        let (team, agent, environment) =
            (self.team.uuid(), self.agent.uuid(), self.environment.uuid());
        let snapshot = serde_json::to_string(&self.session_spec(session).agent).unwrap();
        self.execute(&format!(
            "insert into sessions (id, team_id, agent_id, agent_version, agent, environment_id, metadata, vault_ids, status, epoch,
                 usage, created_at, updated_at)
                 values ('{}', '{team}', '{agent}', 1, '{snapshot}', '{environment}', '{{}}', '[]',
                     'idle', 1, '{{}}', now(), now())
                 on conflict do nothing",
            session.uuid(),
        ))
        .await;
    }

    pub async fn forget_session(&self, session: SessionId) {
        let id = session.uuid();
        self.execute(&format!("delete from sessions where id = '{id}'")).await;
    }

    pub async fn execute(&self, sql: &str) {
        self.test_database.connect().await.unwrap().batch_execute(sql).await.unwrap();
    }

    /// Every row of the table as text.
    pub async fn dump(&self, table: &str) -> String {
        let client = self.test_database.connect().await.unwrap();
        let rows = client.query(&format!("select t::text from {table} t"), &[]).await.unwrap();
        rows.iter().map(|row| row.get::<_, String>(0)).collect()
    }

    /// The bodies of what is published there from now on.
    pub async fn listen(&self, route: Route) -> mpsc::UnboundedReceiver<Arc<[u8]>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let queue = self.broker.own_queue("test");
        let consuming = queue.clone();
        tokio::spawn(async move {
            let handler = move |message: Incoming| {
                let sender = sender.clone();
                async move {
                    let _test_is_over = sender.send(message.body);
                    Verdict::Done
                }
            };
            consuming.consume(10, 1, tokio_util::sync::CancellationToken::new(), handler).await;
        });
        queue.bind(route.exchange, &route.routing_key).await.unwrap();
        receiver
    }
}
