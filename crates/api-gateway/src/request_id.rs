//! The id of one HTTP request: in its answer, in its errors, in the log.

use std::time::Instant;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpMessage};
use platform_runtime::telemetry::continue_trace;
use tracing::{Instrument, info, info_span};

use crate::platform::Platform;
use crate::problem;

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// Set on every request before anything else sees it.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

/// Gives the request its id and its span, and the answer its id and, if it failed, its body.
pub async fn identify(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = Instant::now();
    let platform = request.app_data::<Data<Platform>>().cloned();
    let uuid = platform.as_ref().map(|platform| platform.ids.uuid());
    let id = uuid.map_or_else(String::new, |uuid| format!("req_{}", uuid.simple()));
    request.extensions_mut().insert(RequestId(id.clone()));
    let method = request.method().clone();
    let path = request.path().to_owned();
    let span = info_span!("request", request.id = %id, http.method = %method, http.path = %path);
    let traceparent = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
    continue_trace(&span, traceparent);

    let response = next.call(request).instrument(span.clone()).await?.map_into_boxed_body();
    let _entered = span.enter();
    let mut response = problem::render(response, &id);
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let status = response.status().as_u16();
    if let Some(platform) = platform {
        if platform.shutdown.is_cancelled() {
            // The client's next request goes elsewhere, before this connection is cut.
            response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
        }
        let pattern = response.request().match_pattern();
        let route = pattern.as_deref().unwrap_or("none");
        platform.figures.answered(&method, route, status, started.elapsed());
    }
    info!(http.status = status, duration = ?started.elapsed(), "answered");
    Ok(response)
}
