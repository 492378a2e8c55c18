//! The HTTP server: reads a request, logs it, answers it.

use std::{
    future::pending,
    io,
    net::{SocketAddr, TcpListener},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    dev::Server,
    http::StatusCode,
    web::{self, Bytes, Data, PayloadConfig},
};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::sleep;

use crate::{
    answer::{self, Content, Message},
    conversation::Conversation,
    dialect::{Api, FINGERPRINT, Heading},
    request_log::{RequestLog, RequestRecord},
    streaming::{OpenAnswer, OpenAnswers, Speech, tokens_in},
    tool::ToolCall,
};

/// Agents send their whole history, pictures included.
const BODY_LIMIT: usize = 64 * 1024 * 1024;
const MODELS: [&str; 2] = ["demo", "scripted"];

/// What all requests share; there is nothing else to share, each answer follows from its request.
#[derive(Debug, Default)]
pub struct ScriptedModel {
    log: Option<RequestLog>,
    open_answers: OpenAnswers,
}

/// What every answer to one request starts from.
struct Request {
    api: Api,
    /// Hexadecimal hash of the body: equal requests get equal ids.
    hash: String,
    bytes: usize,
    conversation: Conversation,
}

impl ScriptedModel {
    pub fn new(log: Option<RequestLog>) -> Self {
        Self { log, open_answers: OpenAnswers::default() }
    }
}

/// Starts serving; the address tells the port when the system chose it.
pub fn listen(address: SocketAddr, model: ScriptedModel) -> io::Result<(Server, SocketAddr)> {
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    let model = Data::new(model);
    let server = HttpServer::new(move || App::new().app_data(model.clone()).configure(routes))
        .workers(2)
        .tcp_nodelay(true)
        // A client that hangs up ends its stream, its pause and its `@hang` at once.
        .h1_allow_half_closed(false)
        .shutdown_timeout(1)
        .listen(listener)?
        .run();
    Ok((server, address))
}

/// The routes, without the [`ScriptedModel`] they need as application data.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .app_data(PayloadConfig::new(BODY_LIMIT))
        .route("/v1/chat/completions", web::post().to(answer_chat))
        .route("/v1/responses", web::post().to(answer_responses))
        .route("/v1/messages", web::post().to(answer_messages))
        .route("/v1/messages/count_tokens", web::post().to(count_tokens))
        .route("/v1/models", web::get().to(list_models))
        .route("/healthz", web::get().to(health));
}

async fn answer_chat(
    model: Data<ScriptedModel>,
    request: HttpRequest,
    body: Bytes,
) -> HttpResponse {
    respond(&model, Api::Chat, request.path(), &body).await
}

async fn answer_responses(
    model: Data<ScriptedModel>,
    request: HttpRequest,
    body: Bytes,
) -> HttpResponse {
    respond(&model, Api::Responses, request.path(), &body).await
}

async fn answer_messages(
    model: Data<ScriptedModel>,
    request: HttpRequest,
    body: Bytes,
) -> HttpResponse {
    respond(&model, Api::Messages, request.path(), &body).await
}

async fn count_tokens(body: Bytes) -> HttpResponse {
    HttpResponse::Ok().json(json!({"input_tokens": tokens_in(body.len())}))
}

async fn list_models() -> HttpResponse {
    let models = MODELS
        .map(|id| json!({"id": id, "object": "model", "created": 0, "owned_by": FINGERPRINT}));
    HttpResponse::Ok().json(json!({"object": "list", "data": models}))
}

/// Says how many answers are under way, so that a test can see a hang-up arrive.
async fn health(model: Data<ScriptedModel>) -> HttpResponse {
    let open = model.open_answers.count();
    HttpResponse::Ok().json(json!({"status": "ok", "open_answers": open}))
}

async fn respond(model: &ScriptedModel, api: Api, path: &str, body: &[u8]) -> HttpResponse {
    let open = model.open_answers.enter();
    let request = match Request::parse(api, body) {
        Ok(request) => request,
        Err(error) => return unreadable(api, &error),
    };
    request.record(model.log.as_ref(), path);
    let answer = answer::answer(&request.conversation);
    sleep(answer.delay).await;
    match answer.content {
        Content::Message(message) => request.say(&message, open).await,
        Content::Failure(status) => fail(api, status),
        Content::Silence => pending().await,
    }
}

impl Request {
    fn parse(api: Api, body: &[u8]) -> Result<Self, serde_json::Error> {
        let value: Value = serde_json::from_slice(body)?;
        let conversation = match api {
            Api::Chat => Conversation::from_chat(&value),
            Api::Responses => Conversation::from_responses(&value),
            Api::Messages => Conversation::from_messages(&value),
        };
        let digest = Sha256::digest(body);
        let number =
            digest.iter().take(12).fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
        let hash = format!("{number:024x}");
        Ok(Self { api, hash, bytes: body.len(), conversation })
    }

    fn id(&self) -> String {
        format!("demo-scripted-{}", self.hash)
    }

    fn record(&self, log: Option<&RequestLog>, path: &str) {
        let conversation = &self.conversation;
        let id = self.id();
        tracing::info!(answer.id = id, path, model = conversation.model, "scripted demo answers");
        let record = RequestRecord {
            time: DateTime::<Utc>::from(SystemTime::now())
                .to_rfc3339_opts(SecondsFormat::Micros, true),
            id: &id,
            path,
            model: &conversation.model,
            is_streamed: conversation.is_streamed,
            tools: conversation.tools.names(),
            bytes: self.bytes,
            script: &conversation.script,
            tool_results: conversation.tool_results,
        };
        if let Some(Err(error)) = log.map(|log| log.append(&record)) {
            tracing::error!(%error, "cannot write the request log");
        }
    }

    async fn say(&self, message: &Message, open: OpenAnswer) -> HttpResponse {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let dialect = self.api.dialect(Heading {
            id: self.id(),
            created: since_epoch.as_secs(),
            model: self.conversation.model.clone(),
            input_tokens: tokens_in(self.bytes),
        });
        let call = message.invocation.as_ref().map(|invocation| ToolCall {
            id: format!("call_demo_{}", self.hash),
            name: invocation.name.clone(),
            arguments: Value::Object(invocation.arguments.clone()).to_string(),
        });
        let speech = Speech::new(dialect, message, call, open);
        if self.conversation.is_streamed {
            HttpResponse::Ok()
                .content_type("text/event-stream")
                .insert_header(("cache-control", "no-cache"))
                .streaming(speech.into_events())
        } else {
            HttpResponse::Ok().json(speech.into_whole().await)
        }
    }
}

fn fail(api: Api, status: u16) -> HttpResponse {
    let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let message = format!("the script asked for a failure: @fail {status}");
    HttpResponse::build(code).json(api.failure("scripted_failure", &message))
}

fn unreadable(api: Api, error: &serde_json::Error) -> HttpResponse {
    let message = format!("the body is not JSON: {error}");
    HttpResponse::BadRequest().json(api.failure("invalid_request_error", &message))
}
