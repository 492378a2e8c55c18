//! One sandbox's door, with rules made by hand.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use platform_core::egress::{Alarm, EgressDecision};
use platform_core::environment::{HostRule, Networking};
use platform_core::id::{AgentId, SandboxId, SessionId, TeamId};
use platform_core::network::{HostPattern, NetworkPolicy};
use platform_runtime::clock::{SystemClock, SystemIds};
use platform_sealing::EncryptionKeys;
use platform_storage::StorageError;
use platform_storage::sandbox::SandboxIdentity;
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use uuid::Uuid;
use vault_proxy::door::{Door, DoorEnd, listen};
use vault_proxy::model::forward::Gateway;
use vault_proxy::model::ledger::{Allowances, Ledger, Spent};
use vault_proxy::model::owner::Owners;
use vault_proxy::proxy::authority::Authority;
use vault_proxy::proxy::{Outside, Resolver, Surroundings, Underway, Way};
use vault_proxy::rules::{RulesSource, Secrets, SessionRules, Witness};

use crate::upstream::Root;

/// What a test says about its sandbox.
pub struct Plan {
    pub networking: Networking,
    /// Hosts with the addresses that they have, one set after the other; the last one stays.
    pub names: HashMap<String, Vec<Vec<IpAddr>>>,
    pub internal: Vec<HostPattern>,
    pub secrets: Secrets,
    pub inspect_tls: bool,
}

impl Plan {
    pub fn unrestricted() -> Self {
        Self {
            networking: Networking::Unrestricted,
            names: HashMap::new(),
            internal: Vec::new(),
            secrets: Secrets::none(),
            inspect_tls: false,
        }
    }

    pub fn limited(hosts: &[&str]) -> Self {
        let networking = Networking::Limited {
            allowed_hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
            rules: Vec::new(),
            allow_mcp_servers: false,
            allow_package_managers: false,
        };
        Self { networking, ..Self::unrestricted() }
    }

    /// A name with the addresses that it has at each look-up.
    pub fn name(mut self, name: &str, answers: &[&[&str]]) -> Self {
        let answers = answers
            .iter()
            .map(|answer| answer.iter().map(|address| address.parse().unwrap()).collect());
        self.names.insert(name.to_owned(), answers.collect());
        self
    }

    /// A host on this machine that the team lets be reached.
    pub fn inside(mut self, name: &str, port: u16) -> Self {
        self.internal.push(format!("{name}:{port}").parse().unwrap());
        self.name(name, &[&["127.0.0.1"]])
    }

    pub fn rule(mut self, host: &str, methods: &[&str], paths: &[&str]) -> Self {
        let Networking::Limited { rules, .. } = &mut self.networking else { unreachable!() };
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let (methods, paths) = (owned(methods), owned(paths));
        rules.push(HostRule { host: host.parse().unwrap(), methods, paths });
        self
    }

    pub fn secrets(self, secrets: Secrets) -> Self {
        Self { secrets, ..self }
    }

    pub fn inspecting(self) -> Self {
        Self { inspect_tls: true, ..self }
    }
}

pub struct House {
    folder: TempDir,
    pub end: DoorEnd,
    /// What the sandbox trusts.
    pub certificate: String,
    pub decisions: mpsc::UnboundedReceiver<EgressDecision>,
    pub alarms: mpsc::UnboundedReceiver<Alarm>,
    rules: Arc<Rules>,
}

impl House {
    pub fn open(root: &Root, plan: Plan) -> Self {
        Self::open_for(SandboxId::from_uuid(Uuid::now_v7()), root, plan)
    }

    pub fn open_for(sandbox: SandboxId, root: &Root, plan: Plan) -> Self {
        let Plan { networking, names, internal, secrets, inspect_tls } = plan;
        let policy = NetworkPolicy::new(networking, &[], &[], internal);
        let identity = identity_of(sandbox);
        let rules = Arc::new(SessionRules { identity, policy, inspect_tls, secrets });
        let rules = Arc::new(Rules(Mutex::new(Some(rules)), sandbox));
        let (decided, decisions) = mpsc::unbounded_channel();
        let (alarmed, alarms) = mpsc::unbounded_channel();
        let resolver = Arc::new(Names(Mutex::new(names)));
        let outside = Arc::new(Outside::new(resolver, Some(&root.file())).unwrap());
        let witness = Arc::new(Told { decided, alarmed });
        let (clock, ids) = (Arc::new(SystemClock), Arc::new(SystemIds));
        let provider = outside.provider();
        let authority = Authority::new(&keys(), sandbox, None, provider, clock.clone()).unwrap();
        let certificate = authority.certificate_pem().to_owned();
        let surroundings =
            Surroundings { rules: rules.clone(), witness: witness.clone(), outside, clock, ids };
        let end = DoorEnd::default();
        let underway = Underway::new(end.retired.clone());
        let way = Way::new(sandbox, &surroundings, authority, underway.clone());
        let gateway = Gateway::new("http://127.0.0.1:9".to_owned(), None).unwrap();
        let models = crate::models::models(Arc::new(Nobody), gateway, witness.clone());
        let door = Door::new(sandbox, models, way, underway);
        let folder = tempfile::tempdir().unwrap();
        let socket = listen(&folder.path().join("proxy.sock"), None).unwrap();
        tokio::spawn(door.serve(socket, (), end.clone()));
        Self { folder, end, certificate, decisions, alarms, rules }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("proxy.sock")
    }

    pub async fn dial(&self) -> UnixStream {
        UnixStream::connect(self.socket()).await.unwrap()
    }

    /// The certificate in a file, for programs.
    pub fn certificate_file(&self) -> PathBuf {
        let path = self.folder.path().join("ca.pem");
        std::fs::write(&path, &self.certificate).unwrap();
        path
    }

    /// As if no session had claimed the sandbox.
    pub fn forget_session(&self) {
        *self.rules.0.lock().unwrap() = None;
    }
}

pub fn keys() -> EncryptionKeys {
    EncryptionKeys::new(&SecretString::from("a key of enough characters"), &[]).unwrap()
}

fn identity_of(sandbox: SandboxId) -> SandboxIdentity {
    SandboxIdentity {
        team_id: TeamId::from_uuid(Uuid::from_u128(1)),
        agent_id: AgentId::from_uuid(Uuid::from_u128(2)),
        session_id: SessionId::from_uuid(sandbox.uuid()),
    }
}

struct Rules(Mutex<Option<Arc<SessionRules>>>, SandboxId);

impl RulesSource for Rules {
    fn rules_of(
        &self,
        sandbox: SandboxId,
    ) -> BoxFuture<'_, Result<Option<Arc<SessionRules>>, StorageError>> {
        assert_eq!(sandbox, self.1, "a door asks for its own sandbox's rules");
        let rules = self.0.lock().unwrap().clone();
        Box::pin(async { Ok(rules) })
    }
}

struct Told {
    decided: mpsc::UnboundedSender<EgressDecision>,
    alarmed: mpsc::UnboundedSender<Alarm>,
}

impl Witness for Told {
    fn decided(&self, decision: EgressDecision) {
        let _test_is_over = self.decided.send(decision);
    }

    fn alarm(&self, _identity: &SandboxIdentity, _sandbox: SandboxId, alarm: Alarm) {
        let _test_is_over = self.alarmed.send(alarm);
    }
}

struct Names(Mutex<HashMap<String, Vec<Vec<IpAddr>>>>);

impl Resolver for Names {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        let mut names = self.0.lock().unwrap();
        let answer = match names.get_mut(name) {
            None => Err(io::ErrorKind::NotFound.into()),
            Some(answers) if answers.len() > 1 => Ok(answers.remove(0)),
            Some(answers) => Ok(answers[0].clone()),
        };
        Box::pin(async { answer })
    }
}

/// Calls no model.
struct Nobody;

impl Owners for Nobody {
    fn owner_of(
        &self,
        _sandbox: SandboxId,
    ) -> BoxFuture<'_, Result<Option<SandboxIdentity>, StorageError>> {
        Box::pin(async { Ok(None) })
    }
}

impl Ledger for Nobody {
    fn allowances(
        &self,
        _identity: SandboxIdentity,
    ) -> BoxFuture<'_, Result<Allowances, StorageError>> {
        Box::pin(async { Ok(Allowances::default()) })
    }

    fn record(&self, _identity: SandboxIdentity, _spent: Spent) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
