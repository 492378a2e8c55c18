//! Passes a permitted request on to LiteLLM and its answer back, both as streams.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, LengthLimitError, Limited, StreamBody};
use hyper::body::Frame;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::refusal::Refusal;
use crate::rules::{Body, BoxError};

/// The largest request that is passed on: a conversation with images.
const LARGEST_REQUEST_BYTES: u64 = 32 << 20;
/// How long LiteLLM's answers to questions of our own are waited for.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// How long a gateway that is away is waited for before the agent's turn is ended over it.
const ABSENCE_PATIENCE: Duration = Duration::from_secs(10);
const PROBE_PERIOD: Duration = Duration::from_millis(250);
const TAGS: HeaderName = HeaderName::from_static("x-litellm-tags");

/// Headers that speak of one connection, not of the message.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// What a sandbox may not say about itself: who it is, and on whose account it calls.
const CREDENTIALS: [&str; 6] =
    ["authorization", "x-api-key", "x-goog-api-key", "api-key", "cookie", "host"];
const LITELLM: &str = "x-litellm-";

/// LiteLLM as this proxy calls it.
#[derive(Clone)]
pub struct Gateway {
    client: reqwest::Client,
    url: String,
    authorization: Option<HeaderValue>,
    patience: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error("LITELLM_API_KEY has characters that no header may hold")]
    Key,
    #[error("the client for the gateway cannot be made")]
    Client(#[from] reqwest::Error),
}

impl Gateway {
    /// `url` has no slash at its end.
    pub fn new(url: String, key: Option<&SecretString>) -> Result<Self, GatewayError> {
        let authorization = key.map(bearer).transpose()?;
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_PATIENCE)
            // An answer that redirects elsewhere is the sandbox's to see, not ours to follow with the key.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self { client, url, authorization, patience: ABSENCE_PATIENCE })
    }

    /// Changes how long a gateway that is away is waited for.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Where LiteLLM is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The whole of a request's body, if it is one that is passed on.
    pub async fn collect<B>(headers: &HeaderMap, body: B) -> Result<Bytes, Refusal>
    where
        B: hyper::body::Body<Data = Bytes, Error: Into<BoxError>>,
    {
        refuse_if_declared_too_large(headers)?;
        let collected = Limited::new(body, limit()).collect().await;
        collected.map(http_body_util::Collected::to_bytes).map_err(|error| {
            if error.is::<LengthLimitError>() {
                return too_large();
            }
            let message = "the request's body broke off";
            Refusal::new(StatusCode::BAD_REQUEST, "incomplete_request", message)
        })
    }

    /// Sends the request with the platform's key, or with the session's own, and these tags. Dropping the answer's body ends the call.
    pub async fn forward<B>(
        &self,
        request: Request<B>,
        tags: Option<&str>,
        own_key: Option<&HeaderValue>,
    ) -> Result<Response<Body>, Refusal>
    where
        B: hyper::body::Body<Data = Bytes, Error: Into<BoxError>> + Send + Sync + 'static,
    {
        let (head, body) = request.into_parts();
        refuse_if_declared_too_large(&head.headers)?;
        let body = reqwest::Body::wrap(Limited::new(body, limit()));
        let mut headers = self.outgoing_headers(&head.headers, tags);
        if let Some(own_key) = own_key {
            headers.insert(AUTHORIZATION, own_key.clone());
        }
        let answer = self
            .client
            .request(head.method, format!("{}{}", self.url, path_and_query(&head.uri)))
            .headers(headers)
            .body(body)
            .send()
            .await;
        match answer {
            Ok(answer) => Ok(into_response(answer)),
            Err(error) if error.is_connect() => Err(self.refusal_while_away(&error).await),
            Err(error) => Err(refusal_of(&error)),
        }
    }

    /// Reads what LiteLLM says of itself.
    pub async fn read(&self, path: &str) -> Result<Bytes, reqwest::Error> {
        let answer = self.own_request(Method::GET, path).send().await?;
        answer.error_for_status()?.bytes().await
    }

    /// Asks LiteLLM for something on the platform's own account.
    pub async fn ask(&self, path: &str, body: &Value) -> Result<Bytes, reqwest::Error> {
        let answer = self.own_request(Method::POST, path).json(body).send().await?;
        answer.error_for_status()?.bytes().await
    }

    fn own_request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url));
        let request = request.timeout(ANSWERED_WITHIN);
        match &self.authorization {
            Some(authorization) => request.header(AUTHORIZATION, authorization),
            None => request,
        }
    }

    /// What is said while LiteLLM cannot be reached.
    ///
    /// Agents take a 5xx for passing and try again by themselves, with growing pauses, for minutes in which their user hears nothing. So
    /// an absence is waited out here; when it is over the agent is told to try again, and when it is not, in a way that ends its turn.
    async fn refusal_while_away(&self, error: &reqwest::Error) -> Refusal {
        tracing::warn!(error = error as &dyn Error, "the model gateway is away");
        match tokio::time::timeout(self.patience, self.came_back()).await {
            Ok(()) => Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "gateway_restarted",
                "the model gateway (LiteLLM) was away for a moment; try again",
            ),
            Err(_elapsed) => Refusal::new(
                StatusCode::BAD_REQUEST,
                "gateway_unreachable",
                "the model gateway (LiteLLM) cannot be reached; send the message again once it is back",
            ),
        }
    }

    async fn came_back(&self) {
        let alive = format!("{}/health/liveliness", self.url);
        while self.client.get(&alive).send().await.is_err() {
            tokio::time::sleep(PROBE_PERIOD).await;
        }
    }

    fn outgoing_headers(&self, incoming: &HeaderMap, tags: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(incoming.len() + 2);
        for (name, value) in incoming {
            let is_ours =
                CREDENTIALS.contains(&name.as_str()) || name.as_str().starts_with(LITELLM);
            // The length is told again by the client from the body that it is given.
            if !is_ours && !is_hop_by_hop(name) && name != CONTENT_LENGTH {
                headers.append(name, value.clone());
            }
        }
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        if let Some(tags) = tags.and_then(|tags| HeaderValue::from_str(tags).ok()) {
            headers.insert(TAGS, tags);
        }
        headers
    }
}

pub(super) fn bearer(key: &SecretString) -> Result<HeaderValue, GatewayError> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret()))
        .map_err(|_not_a_header| GatewayError::Key)?;
    value.set_sensitive(true);
    Ok(value)
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(&name.as_str())
}

/// Without `key`, in which Gemini's clients carry their credential.
fn path_and_query(uri: &Uri) -> String {
    let parameters = uri.query().unwrap_or_default().split('&');
    let kept: Vec<&str> = parameters
        .filter(|parameter| !parameter.is_empty() && parameter.split('=').next() != Some("key"))
        .collect();
    if kept.is_empty() {
        uri.path().to_owned()
    } else {
        format!("{}?{}", uri.path(), kept.join("&"))
    }
}

fn limit() -> usize {
    usize::try_from(LARGEST_REQUEST_BYTES).unwrap_or(usize::MAX)
}

fn refuse_if_declared_too_large(headers: &HeaderMap) -> Result<(), Refusal> {
    let declared = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    match declared.and_then(|length| length.parse::<u64>().ok()) {
        Some(length) if length > LARGEST_REQUEST_BYTES => Err(too_large()),
        Some(_) | None => Ok(()),
    }
}

fn too_large() -> Refusal {
    let message = format!("a model call may have at most {LARGEST_REQUEST_BYTES} bytes");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message)
}

fn refusal_of(error: &reqwest::Error) -> Refusal {
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(inner) = cause {
        if inner.is::<LengthLimitError>() {
            return too_large();
        }
        cause = inner.source();
    }
    tracing::warn!(error = error as &dyn Error, "the model gateway did not answer");
    let message = "the model gateway (LiteLLM) broke the call off; try again";
    Refusal::new(StatusCode::BAD_GATEWAY, "gateway_failed", message)
}

fn into_response(answer: reqwest::Response) -> Response<Body> {
    let status = answer.status();
    let mut headers = answer.headers().clone();
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    let frames = answer.bytes_stream().map_ok(Frame::data).map_err(Into::into);
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_the_query_is_left_behind() {
        let shown = |uri: &str| path_and_query(&uri.parse().unwrap());
        assert_eq!(shown("/v1beta/models/m:f?key=secret&alt=sse"), "/v1beta/models/m:f?alt=sse");
        assert_eq!(shown("/v1/messages?key=secret"), "/v1/messages");
        assert_eq!(shown("/v1/messages?beta=true"), "/v1/messages?beta=true");
    }
}
