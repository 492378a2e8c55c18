//! `Idempotency-Key` on whatever changes something: the same request is carried out once and answered the same every time.

use actix_web::body::{BoxBody, MessageBody, to_bytes};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{CONTENT_TYPE, HeaderName};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpMessage, HttpResponse};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use platform_core::failure::FailureKind;
use platform_core::id::{SessionId, TeamId};
use platform_storage::Connection;
use platform_storage::idempotency::{self, Begun};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use tracing::{Instrument, Span, warn};

use crate::body;
use crate::caller::Caller;
use crate::minting::Seed;
use crate::platform::Platform;
use crate::problem::{self, Problem};
use crate::request_id::RequestId;

const KEY: &str = "idempotency-key";
/// Tells the caller that this is the answer of an earlier request.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const LONGEST_KEY: usize = 255;

/// What is kept of a request that was answered.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kept", rename_all = "snake_case")]
enum Kept {
    /// The answer, byte for byte: PostgreSQL's JSON would sort its keys.
    Answer { content_type: String, body: String },
    /// Nothing: the handler answers a repeat by itself.
    Nothing,
}

/// Put into the extensions of an answer that carries a secret, by a handler that answers a repeat with the same.
#[derive(Debug, Clone, Copy)]
pub struct NotToBeKept;

/// Put into the extensions of an answer: the session that it speaks of, where the path does not name it.
#[derive(Debug, Clone, Copy)]
struct About(SessionId);

/// Has the kept answer forgotten together with the session.
pub fn about(session: SessionId, mut answer: HttpResponse) -> HttpResponse {
    answer.extensions_mut().insert(About(session));
    answer
}

/// Passes a request on unless its key says that it was answered already, is under way, or was another one.
pub async fn remember(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let key = match key(&request) {
        Ok(Some(key)) => key,
        Ok(None) => return Ok(next.call(request).await?.map_into_boxed_body()),
        Err(problem) => return Ok(request.error_response(problem)),
    };
    // On a task of its own, so that a caller who hangs up does not leave the key half used.
    let work = carry_out(request, next, key).instrument(Span::current());
    let finished = actix_web::rt::spawn(work).await;
    finished.map_err(|failure| {
        let message = "the platform failed; its log says why";
        Problem::new(FailureKind::Internal, message).caused_by(failure)
    })?
}

fn key(request: &ServiceRequest) -> Result<Option<String>, Problem> {
    if !matches!(*request.method(), Method::POST | Method::PATCH | Method::DELETE) {
        return Ok(None);
    }
    let Some(value) = request.headers().get(KEY) else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=LONGEST_KEY).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => Err(Problem::invalid("Idempotency-Key: 1 to 255 printable characters are needed")),
    }
}

async fn carry_out(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
    key: String,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let prepared = prepare(&mut request, &key).await;
    let (platform, team) = match prepared {
        Ok(Prepared::Fresh { platform, team }) => (platform, team),
        Ok(Prepared::Known(answer)) => return Ok(request.into_response(answer)),
        Err(problem) => return Ok(request.error_response(problem)),
    };
    let response = next.call(request).await?.map_into_boxed_body();
    let id = response.request().extensions().get::<RequestId>().cloned();
    let response = problem::render(response, id.as_ref().map_or("", |id| id.0.as_str()));
    keep(&platform, team, &key, response).await
}

enum Prepared {
    Fresh { platform: Data<Platform>, team: TeamId },
    Known(HttpResponse),
}

async fn prepare(request: &mut ServiceRequest, key: &str) -> Result<Prepared, Problem> {
    let platform = Platform::of(request.request())?;
    let team = request.extract::<Caller>().await?.team();
    let declared = body::declared_length(request.request());
    let body = body::read(request.take_payload(), declared, body::WITH_EVENTS).await?;
    let mut connection = platform.database.connection().await?;
    match begin(&platform, &mut connection, team, key, request, &body).await? {
        Begun::Fresh => {}
        Begun::InProgress => {
            let message = "a request with this Idempotency-Key is still under way";
            let problem = Problem::conflict(message).with_code("idempotency_key_in_use");
            return Err(problem.retry_after(1));
        }
        Begun::OtherRequest => {
            let message = "this Idempotency-Key was used for another request";
            return Err(Problem::conflict(message).with_code("idempotency_key_reused"));
        }
        Begun::Answered { status, response } => {
            if let Some(answer) = replay(status, response)? {
                return Ok(Prepared::Known(answer));
            }
        }
    }
    request.set_payload(Payload::from(body));
    let seed = Seed::new(team, key, request.method().as_str(), request.path());
    request.extensions_mut().insert(seed);
    Ok(Prepared::Fresh { platform, team })
}

/// Takes the key for the request. What it was taken for under a former `ENCRYPTION_KEY` is recognised.
async fn begin(
    platform: &Platform,
    connection: &mut Connection,
    team: TeamId,
    key: &str,
    request: &ServiceRequest,
    body: &Bytes,
) -> Result<Begun, Problem> {
    let now = platform.clock.now();
    for hash_key in platform.sealer.hash_keys() {
        let hash = hash(&hash_key, request, body)?;
        match idempotency::begin(connection, team, key, &hash, now).await? {
            Begun::OtherRequest => {}
            begun @ (Begun::Fresh | Begun::InProgress | Begun::Answered { .. }) => {
                return Ok(begun);
            }
        }
    }
    Ok(Begun::OtherRequest)
}

/// Keyed, because the body may hold a secret that could be guessed from a plain hash.
fn hash(key: &[u8; 32], request: &ServiceRequest, body: &Bytes) -> Result<Vec<u8>, Problem> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|failure| {
        let message = "the platform failed; its log says why";
        Problem::new(FailureKind::Internal, message).caused_by(failure)
    })?;
    let (method, path, query) = (request.method().as_str(), request.path(), request.query_string());
    for part in [method.as_bytes(), path.as_bytes(), query.as_bytes()] {
        mac.update(part);
        mac.update(&[0]);
    }
    mac.update(body);
    Ok(mac.finalize().into_bytes().to_vec())
}

/// The kept answer; `None` when the handler is to answer again.
fn replay(status: u16, response: serde_json::Value) -> Result<Option<HttpResponse>, Problem> {
    let unreadable = |_| Problem::new(FailureKind::Internal, "the kept answer cannot be read");
    match serde_json::from_value(response).map_err(unreadable)? {
        Kept::Nothing => Ok(None),
        Kept::Answer { content_type, body } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
            Ok(Some(
                HttpResponse::build(status)
                    .content_type(content_type)
                    .insert_header((REPLAYED, "true"))
                    .body(body),
            ))
        }
    }
}

/// Whose content the answer repeats. That of a deletion has none, and outlives the session.
fn session_of(response: &ServiceResponse<BoxBody>) -> Option<SessionId> {
    if response.request().method() == Method::DELETE {
        return None;
    }
    let named = response.response().extensions().get::<About>().map(|About(session)| *session);
    named.or_else(|| response.request().match_info().get("session_id")?.parse().ok())
}

/// Keeps the answer, or gives the key back when the same request may have another outcome later.
async fn keep(
    platform: &Platform,
    team: TeamId,
    key: &str,
    response: ServiceResponse<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let status = response.status();
    let is_final = !status.is_server_error()
        && status != StatusCode::TOO_MANY_REQUESTS
        && !response.headers().contains_key(actix_web::http::header::RETRY_AFTER);
    let is_secret = response.response().extensions().contains::<NotToBeKept>();
    let session = session_of(&response);
    let (request, response) = response.into_parts();
    let (head, body) = response.into_parts();
    let bytes = to_bytes(body).await.map_err(|failure| {
        Problem::new(FailureKind::Internal, format!("the answer could not be read: {failure}"))
    })?;
    let noted = async {
        let mut connection = platform.database.connection().await?;
        if !is_final {
            return idempotency::abandon(&mut connection, team, key).await;
        }
        let content_type = head.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let kept = if is_secret {
            Kept::Nothing
        } else {
            Kept::Answer {
                content_type: content_type.unwrap_or("application/json").to_owned(),
                body: String::from_utf8_lossy(&bytes).into_owned(),
            }
        };
        let kept = serde_json::json!(kept);
        idempotency::finish(&mut connection, team, key, status.as_u16(), &kept, session).await
    };
    if let Err(failure) = noted.await {
        warn!(%failure, "the outcome of an Idempotency-Key was not noted; a repeat takes it over later");
    }
    Ok(ServiceResponse::new(request, head.set_body(BoxBody::new(bytes))))
}
