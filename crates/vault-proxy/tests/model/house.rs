//! A sandbox's door whose model calls reach a LiteLLM that answers as a test wants, and whose account a test looks into.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use platform_core::egress::{Alarm, EgressDecision};
use platform_core::id::{AgentId, SandboxId, SessionId, TeamId};
use platform_runtime::clock::{SystemClock, SystemIds};
use platform_runtime::lifecycle::{Shutdown, Tasks};
use platform_sealing::EncryptionKeys;
use platform_storage::StorageError;
use platform_storage::sandbox::SandboxIdentity;
use tempfile::TempDir;
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::{mpsc, watch};
use uuid::Uuid;
use vault_proxy::door::{Door, DoorEnd, listen};
use vault_proxy::model::Models;
use vault_proxy::model::forward::Gateway;
use vault_proxy::model::keys::SessionKeys;
use vault_proxy::model::ledger::{Allowances, Ledger, Spent};
use vault_proxy::model::owner::Owners;
use vault_proxy::model::prices::Prices;
use vault_proxy::proxy::authority::Authority;
use vault_proxy::proxy::{Outside, Surroundings, SystemResolver, Underway, Way};
use vault_proxy::rules::{RulesSource, SessionRules, Witness};

pub const IDENTITY: SandboxIdentity = SandboxIdentity {
    team_id: TeamId::from_uuid(Uuid::from_u128(1)),
    agent_id: AgentId::from_uuid(Uuid::from_u128(2)),
    session_id: SessionId::from_uuid(Uuid::from_u128(3)),
};

/// What LiteLLM got.
#[derive(Debug, Clone)]
pub struct Asked {
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
}

/// What LiteLLM answers to model calls.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    pub headers: Vec<(&'static str, &'static str)>,
    pub body: &'static str,
    pub allowances: Allowances,
    pub has_own_keys: bool,
}

pub struct House {
    folder: TempDir,
    pub asked: mpsc::UnboundedReceiver<Asked>,
    pub book: Arc<Book>,
    pub decisions: mpsc::UnboundedReceiver<EgressDecision>,
    pub keys: Option<Arc<SessionKeys>>,
}

/// A ledger that writes when it is let.
pub struct Book {
    pub allowances: Allowances,
    pub spent: Mutex<Vec<Spent>>,
    pub may_write: watch::Sender<bool>,
}

impl Ledger for Book {
    fn allowances(
        &self,
        _identity: SandboxIdentity,
    ) -> BoxFuture<'_, Result<Allowances, StorageError>> {
        Box::pin(async { Ok(self.allowances) })
    }

    fn record(&self, identity: SandboxIdentity, spent: Spent) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            assert_eq!(identity, IDENTITY);
            self.may_write.subscribe().wait_for(|may| *may).await.unwrap();
            self.spent.lock().unwrap().push(spent);
        })
    }
}

struct Everybody(mpsc::UnboundedSender<EgressDecision>);

impl Witness for Everybody {
    fn decided(&self, decision: EgressDecision) {
        let _nobody_looks = self.0.send(decision);
    }

    fn alarm(&self, _identity: &SandboxIdentity, _sandbox: SandboxId, _alarm: Alarm) {}
}

impl RulesSource for Everybody {
    fn rules_of(
        &self,
        _sandbox: SandboxId,
    ) -> BoxFuture<'_, Result<Option<Arc<SessionRules>>, StorageError>> {
        Box::pin(async { Ok(None) })
    }
}

impl Owners for Everybody {
    fn owner_of(
        &self,
        _sandbox: SandboxId,
    ) -> BoxFuture<'_, Result<Option<SandboxIdentity>, StorageError>> {
        Box::pin(async { Ok(Some(IDENTITY)) })
    }
}

impl House {
    pub async fn build(plan: Plan) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (told, asked) = mpsc::unbounded_channel();
        tokio::spawn(play_litellm(listener, told, plan.clone()));
        let (decided, decisions) = mpsc::unbounded_channel();
        let gateway = Gateway::new(url, Some(&"sk-platform".into())).unwrap();
        let book = Arc::new(Book {
            allowances: plan.allowances,
            spent: Mutex::default(),
            may_write: watch::Sender::new(true),
        });
        let everybody = Arc::new(Everybody(decided));
        let ledger: Arc<dyn Ledger> = book.clone();
        let keys =
            plan.has_own_keys.then(|| Arc::new(SessionKeys::new(gateway.clone(), ledger.clone())));
        let models = Arc::new(Models {
            owners: everybody.clone(),
            prices: Arc::new(Prices::new(gateway.clone())),
            gateway,
            ledger,
            keys: keys.clone(),
            witness: everybody.clone(),
            clock: Arc::new(SystemClock),
            ids: Arc::new(SystemIds),
            tasks: Tasks::new(Shutdown::new()),
        });
        let folder = open_door(models, everybody);
        Self { folder, asked, book, decisions, keys }
    }

    /// Sends a call and answers once the head of the answer is there.
    pub async fn call(&self, path: &str, body: &str) -> Response<Incoming> {
        let stream = UnixStream::connect(self.folder.path().join("proxy.sock")).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::post(path).header("host", "litellm");
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        sender.send_request(request).await.unwrap()
    }
}

fn open_door(models: Arc<Models>, everybody: Arc<Everybody>) -> TempDir {
    let keys = EncryptionKeys::new(&"a key of enough characters".into(), &[]).unwrap();
    let outside = Arc::new(Outside::new(Arc::new(SystemResolver::default()), None).unwrap());
    let sandbox = SandboxId::from_uuid(Uuid::from_u128(9));
    let (clock, ids) = (Arc::new(SystemClock), Arc::new(SystemIds));
    let authority =
        Authority::new(&keys, sandbox, None, outside.provider(), clock.clone()).unwrap();
    let end = DoorEnd::default();
    let underway = Underway::new(end.retired.clone());
    let surroundings =
        Surroundings { rules: everybody.clone(), witness: everybody, outside, clock, ids };
    let way = Way::new(sandbox, &surroundings, authority, underway.clone());
    let door = Door::new(sandbox, models, way, underway);
    let folder = tempfile::tempdir().unwrap();
    let socket = listen(&folder.path().join("proxy.sock"), None).unwrap();
    tokio::spawn(door.serve(socket, (), end));
    folder
}

async fn play_litellm(listener: TcpListener, told: mpsc::UnboundedSender<Asked>, plan: Plan) {
    while let Ok((stream, _)) = listener.accept().await {
        let (told, plan) = (told.clone(), plan.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (told, plan) = (told.clone(), plan.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let path = head.uri.path().to_owned();
                let body = String::from_utf8(body.to_vec()).unwrap();
                told.send(Asked { path: path.clone(), headers: head.headers, body }).unwrap();
                let mut answer = Response::builder();
                let text = match path.as_str() {
                    "/model/info" => {
                        r#"{"data":[{"model_name":"demo","model_info":{"input_cost_per_token":0.000001,"output_cost_per_token":0.000002}}]}"#
                    }
                    "/key/generate" => r#"{"key":"sk-of-the-session"}"#,
                    "/key/delete" => "{}",
                    _ => {
                        for (name, value) in &plan.headers {
                            answer = answer.header(*name, *value);
                        }
                        plan.body
                    }
                };
                Ok::<_, Infallible>(answer.body(Full::new(Bytes::from(text))).unwrap())
            }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}
