//! A sandbox's way out against a small server that stands in for LiteLLM.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "support/models.rs"]
mod models;

use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use models::models;
use platform_core::egress::{Alarm, EgressDecision};
use platform_core::id::{AgentId, SandboxId, SessionId, TeamId};
use platform_runtime::clock::{SystemClock, SystemIds};
use platform_sealing::EncryptionKeys;
use platform_storage::StorageError;
use platform_storage::sandbox::SandboxIdentity;
use tempfile::TempDir;
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::mpsc;
use uuid::Uuid;
use vault_proxy::door::{Door, DoorEnd, listen};
use vault_proxy::model::forward::Gateway;
use vault_proxy::model::owner::Owners;
use vault_proxy::proxy::authority::Authority;
use vault_proxy::proxy::{Outside, Surroundings, SystemResolver, Underway, Way};
use vault_proxy::rules::{RulesSource, SessionRules, Witness};

/// Nothing comes back within this in any of these tests.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(20);
const KEY: &str = "sk-of-the-platform";

struct Owner(Option<SandboxIdentity>);

impl Owners for Owner {
    fn owner_of(
        &self,
        _sandbox: SandboxId,
    ) -> BoxFuture<'_, Result<Option<SandboxIdentity>, StorageError>> {
        Box::pin(async { Ok(self.0) })
    }
}

fn owner() -> SandboxIdentity {
    SandboxIdentity {
        team_id: TeamId::from_uuid(Uuid::from_u128(1)),
        agent_id: AgentId::from_uuid(Uuid::from_u128(2)),
        session_id: SessionId::from_uuid(Uuid::from_u128(3)),
    }
}

/// What the upstream received.
struct Received {
    method: Method,
    path_and_query: String,
    headers: HeaderMap,
    body: Bytes,
}

/// Frames that the upstream answers with, one for each that the test puts in.
type Frames = mpsc::UnboundedReceiver<Bytes>;
type AnswerBody = StreamBody<mpsc_stream::Stream>;

mod mpsc_stream {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use super::{Bytes, Frame, Frames, Infallible, mpsc};

    /// Tells `gone` when it is dropped: then nobody reads the answer any more.
    pub struct Stream {
        pub frames: Frames,
        pub gone: mpsc::UnboundedSender<()>,
    }

    impl futures::Stream for Stream {
        type Item = Result<Frame<Bytes>, Infallible>;

        fn poll_next(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Self::Item>> {
            self.frames.poll_recv(context).map(|frame| frame.map(|bytes| Ok(Frame::data(bytes))))
        }
    }

    impl Drop for Stream {
        fn drop(&mut self) {
            let _test_is_over = self.gone.send(());
        }
    }
}

struct House {
    folder: TempDir,
    end: DoorEnd,
    received: mpsc::UnboundedReceiver<Received>,
    frames: mpsc::UnboundedSender<Bytes>,
    gone: mpsc::UnboundedReceiver<()>,
}

impl House {
    /// A door whose sandbox belongs to `owner`; the upstream answers its first request with what the test sends.
    async fn build(owner: Option<SandboxIdentity>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (told, received) = mpsc::unbounded_channel();
        let (frames, answer) = mpsc::unbounded_channel();
        let (dropped, gone) = mpsc::unbounded_channel();
        tokio::spawn(serve_upstream(listener, told, answer, dropped));
        let (folder, end) = open_door(url, owner);
        Self { folder, end, received, frames, gone }
    }

    async fn dial(&self) -> SendRequest<Full<Bytes>> {
        dial(&self.folder).await
    }
}

fn open_door(url: String, owner: Option<SandboxIdentity>) -> (TempDir, DoorEnd) {
    let (folder, end) = (tempfile::tempdir().unwrap(), DoorEnd::default());
    let gateway = Gateway::new(url, Some(&KEY.into())).unwrap().with_patience(PATIENCE);
    let sandbox = SandboxId::from_uuid(Uuid::from_u128(9));
    let underway = Underway::new(end.retired.clone());
    let way = way(sandbox, underway.clone());
    let door = Door::new(
        sandbox,
        models(Arc::new(Owner(owner)), gateway, Arc::new(NoRules)),
        way,
        underway,
    );
    let socket = listen(&folder.path().join("proxy.sock"), None).unwrap();
    tokio::spawn(door.serve(socket, (), end.clone()));
    (folder, end)
}

/// A way to other hosts that leads nowhere.
fn way(sandbox: SandboxId, underway: Underway) -> Arc<Way> {
    let keys = EncryptionKeys::new(&"a key of enough characters".into(), &[]).unwrap();
    let outside = Arc::new(Outside::new(Arc::new(SystemResolver::default()), None).unwrap());
    let (clock, ids) = (Arc::new(SystemClock), Arc::new(SystemIds));
    let authority =
        Authority::new(&keys, sandbox, None, outside.provider(), clock.clone()).unwrap();
    let (rules, witness) = (Arc::new(NoRules), Arc::new(NoRules));
    let surroundings = Surroundings { rules, witness, outside, clock, ids };
    Way::new(sandbox, &surroundings, authority, underway)
}

struct NoRules;

impl RulesSource for NoRules {
    fn rules_of(
        &self,
        _sandbox: SandboxId,
    ) -> BoxFuture<'_, Result<Option<Arc<SessionRules>>, StorageError>> {
        Box::pin(async { Ok(None) })
    }
}

impl Witness for NoRules {
    fn decided(&self, _decision: EgressDecision) {}

    fn alarm(&self, _identity: &SandboxIdentity, _sandbox: SandboxId, _alarm: Alarm) {}
}

async fn dial(folder: &TempDir) -> SendRequest<Full<Bytes>> {
    let stream = UnixStream::connect(folder.path().join("proxy.sock")).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn serve_upstream(
    listener: TcpListener,
    told: mpsc::UnboundedSender<Received>,
    answer: Frames,
    gone: mpsc::UnboundedSender<()>,
) {
    let answer =
        Arc::new(std::sync::Mutex::new(Some(mpsc_stream::Stream { frames: answer, gone })));
    while let Ok((stream, _)) = listener.accept().await {
        let (told, answer) = (told.clone(), answer.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (told, answer) = (told.clone(), answer.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let path_and_query = head.uri.to_string();
                let (method, headers) = (head.method, head.headers);
                told.send(Received { method, path_and_query, headers, body }).unwrap();
                let frames = answer.lock().unwrap().take().unwrap();
                let response = Response::builder()
                    .header("content-type", "text/event-stream")
                    .header("x-litellm-call-id", "7")
                    .body(StreamBody::new(frames));
                Ok::<Response<AnswerBody>, http::Error>(response.unwrap())
            }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}

fn call() -> http::request::Builder {
    Request::post("/v1/chat/completions").header("host", "127.0.0.1:4000")
}

async fn error_of(response: Response<Incoming>) -> (StatusCode, serde_json::Value) {
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    (status, body["error"]["code"].clone())
}

#[tokio::test]
async fn a_model_call_goes_out_under_the_platform_s_name() {
    let mut house = House::build(Some(owner())).await;
    let request = call()
        .header("authorization", "Bearer none")
        .header("x-api-key", "none")
        .header("x-litellm-tags", "team:somebody-else")
        .header("x-litellm-api-key", "Bearer stolen")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .header("x-session-id", "of the agent")
        .body(Full::from("{\"model\":\"demo\"}"))
        .unwrap();
    house.frames.send(Bytes::from("answer")).unwrap();
    let response = house.dial().await.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["x-litellm-call-id"], "7");

    let received = house.received.recv().await.unwrap();
    assert_eq!(received.method, Method::POST);
    assert_eq!(received.path_and_query, "/v1/chat/completions");
    assert_eq!(received.body, "{\"model\":\"demo\"}");
    let mut headers: Vec<_> = received
        .headers
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "host" | "accept" | "content-length"))
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    headers.sort();
    assert_eq!(
        headers,
        [
            format!("authorization: Bearer {KEY}"),
            "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
            "x-litellm-tags: team:team_00000000000000000000000000000001,agent:agent_00000000000000000000000000000002,\
             session:sesn_00000000000000000000000000000003"
                .to_owned(),
            "x-session-id: of the agent".to_owned(),
        ]
    );
}

#[tokio::test]
async fn an_answer_comes_back_piece_by_piece() {
    let house = House::build(Some(owner())).await;
    let request = call().body(Full::from("{}")).unwrap();
    let mut sender = house.dial().await;
    let response = sender.send_request(request).await.unwrap();
    let mut pieces = response.into_body().into_data_stream();
    // Each is asked for before the next exists: whoever buffered would hang here.
    for piece in ["data: one\n\n", "data: two\n\n", "data: three\n\n"] {
        house.frames.send(Bytes::from(piece)).unwrap();
        assert_eq!(pieces.next().await.unwrap().unwrap(), piece);
    }
    drop(house.frames);
    assert!(pieces.next().await.is_none());
}

#[tokio::test]
async fn the_call_ends_when_the_agent_hangs_up() {
    let mut house = House::build(Some(owner())).await;
    let request = call().body(Full::from("{}")).unwrap();
    let mut sender = house.dial().await;
    let response = sender.send_request(request).await.unwrap();
    drop((response, sender));
    // An upstream notices when it writes.
    let frames = house.frames.clone();
    let writing = tokio::spawn(async move {
        while frames.send(Bytes::from("word ")).is_ok() {
            tokio::task::yield_now().await;
        }
    });
    house.gone.recv().await.unwrap();
    writing.await.unwrap();
}

#[tokio::test]
async fn whatever_is_no_model_call_is_refused_with_a_sentence() {
    let house = House::build(Some(owner())).await;
    let mut sender = house.dial().await;
    let request = Request::get("/key/list").body(Full::default()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(error_of(response).await, (StatusCode::FORBIDDEN, "egress_forbidden".into()));

    let connect = Request::connect("example.com:443").body(Full::default()).unwrap();
    let response = sender.send_request(connect).await.unwrap();
    assert_eq!(error_of(response).await, (StatusCode::FORBIDDEN, "no_session".into()));
}

#[tokio::test]
async fn a_sandbox_without_a_session_may_list_models_and_no_more() {
    let mut house = House::build(None).await;
    let mut sender = house.dial().await;
    let request = call().body(Full::from("{}")).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(error_of(response).await, (StatusCode::FORBIDDEN, "no_session".into()));

    let request = Request::get("/v1/models").body(Full::default()).unwrap();
    let response = house.dial().await.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(!house.received.recv().await.unwrap().headers.contains_key("x-litellm-tags"));
}

#[tokio::test]
async fn a_gateway_that_stays_away_is_named_in_a_way_that_no_agent_retries() {
    let (folder, _end) = open_door("http://127.0.0.1:9".to_owned(), Some(owner()));
    let request = call().body(Full::from("{}")).unwrap();
    let response = dial(&folder).await.send_request(request).await.unwrap();
    assert_eq!(error_of(response).await, (StatusCode::BAD_REQUEST, "gateway_unreachable".into()));
}

#[tokio::test]
async fn a_request_that_is_too_large_is_not_passed_on() {
    let house = House::build(Some(owner())).await;
    let declared = call().header("content-length", (33 << 20).to_string());
    let request = declared.body(Full::from("{}")).unwrap();
    let response = house.dial().await.send_request(request).await.unwrap();
    assert_eq!(
        error_of(response).await,
        (StatusCode::PAYLOAD_TOO_LARGE, "request_too_large".into())
    );
}

#[tokio::test]
async fn a_closed_door_cuts_what_is_under_way() {
    let house = House::build(Some(owner())).await;
    let request = call().body(Full::from("{}")).unwrap();
    let mut sender = house.dial().await;
    let response = sender.send_request(request).await.unwrap();
    house.end.closed.cancel();
    assert!(response.into_body().collect().await.is_err());
    assert!(UnixStream::connect(house.folder.path().join("proxy.sock")).await.is_err());
}

#[tokio::test]
async fn a_retired_door_finishes_what_is_under_way_and_takes_nothing_new() {
    let house = House::build(Some(owner())).await;
    let request = call().body(Full::from("{}")).unwrap();
    let mut sender = house.dial().await;
    let response = sender.send_request(request).await.unwrap();
    house.frames.send(Bytes::from("first ")).unwrap();
    house.end.retired.cancel();
    let socket = house.folder.path().join("proxy.sock");
    while UnixStream::connect(&socket).await.is_ok() {
        tokio::task::yield_now().await;
    }
    house.frames.send(Bytes::from("second")).unwrap();
    drop(house.frames);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "first second");
    sender.ready().await.unwrap_err();
}

#[tokio::test]
async fn only_the_sandbox_s_user_can_connect() {
    let house = House::build(Some(owner())).await;
    let socket = std::fs::metadata(house.folder.path().join("proxy.sock")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
}
