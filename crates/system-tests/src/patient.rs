//! A client that tries again where the official SDK does, for as long as it is given, and knows more than one gateway.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::EventStream;

/// A gateway answers within ten seconds, whatever is away behind it; a frozen one does not.
const ONE_TRY: Duration = Duration::from_secs(20);
/// Longer than the longest time between two heartbeats of a stream.
const SILENCE: Duration = Duration::from_secs(20);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Speaks with one key to any of several gateways, and goes to the next when one does not answer.
#[derive(Clone)]
pub struct PatientClient {
    http: reqwest::Client,
    urls: Arc<[String]>,
    turn: Arc<AtomicUsize>,
}

/// What came back in the end.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: StatusCode,
    pub body: Value,
    /// How often it was sent.
    pub tries: u32,
}

/// No answer that stands.
#[derive(Debug)]
pub enum GaveUp {
    /// An answer that the SDK does not try again after.
    Refused { status: StatusCode, body: String },
    /// Time ran out; this was the last that was heard.
    TimeIsUp { tries: u32, last: String },
}

impl std::fmt::Display for GaveUp {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused { status, body } => write!(formatter, "refused with {status}: {body}"),
            Self::TimeIsUp { tries, last } => {
                write!(formatter, "no answer after {tries} tries, the last: {last}")
            }
        }
    }
}

impl std::error::Error for GaveUp {}

impl PatientClient {
    pub fn new(urls: &[String], key: &str) -> anyhow::Result<Self> {
        let mut headers = HeaderMap::new();
        let mut authorization = HeaderValue::from_str(&format!("Bearer {key}"))?;
        authorization.set_sensitive(true);
        headers.insert(AUTHORIZATION, authorization);
        let http = reqwest::Client::builder()
            .default_headers(headers)
            .connect_timeout(Duration::from_secs(5))
            .read_timeout(SILENCE)
            .build()?;
        Ok(Self { http, urls: urls.into(), turn: Arc::default() })
    }

    pub async fn get(&self, path: &str, patience: Duration) -> Result<Value, GaveUp> {
        let request = |url: &str| self.http.get(format!("{url}{path}"));
        self.insist(request, patience).await.map(|reply| reply.body)
    }

    pub async fn delete(&self, path: &str, patience: Duration) -> Result<Reply, GaveUp> {
        let request = |url: &str| self.http.request(Method::DELETE, format!("{url}{path}"));
        self.insist(request, patience).await
    }

    /// Posts under one `Idempotency-Key`, however often it has to be sent.
    pub async fn post(
        &self,
        path: &str,
        body: &Value,
        idempotency_key: &str,
        patience: Duration,
    ) -> Result<Reply, GaveUp> {
        let request = |url: &str| {
            let request = self.http.post(format!("{url}{path}")).json(body);
            request.header("Idempotency-Key", idempotency_key)
        };
        self.insist(request, patience).await
    }

    /// Opens a session's stream after the event of this number, with previews of what the agent says. Tries once.
    pub async fn stream(&self, session: &str, after: i64) -> anyhow::Result<EventStream> {
        let url = self.any_url();
        let path = format!("/v1/sessions/{session}/events/stream?event_deltas[]=agent.message");
        let request = self.http.get(format!("{url}{path}")).header("Last-Event-ID", after);
        match request.send().await.and_then(Response::error_for_status) {
            Ok(response) => Ok(EventStream::of(response)),
            Err(failure) => {
                self.turn.fetch_add(1, Ordering::Relaxed);
                Err(failure.into())
            }
        }
    }

    async fn insist(
        &self,
        request: impl Fn(&str) -> RequestBuilder,
        patience: Duration,
    ) -> Result<Reply, GaveUp> {
        let deadline = Instant::now() + patience;
        let mut pause = FIRST_PAUSE;
        let mut tries = 0;
        loop {
            tries += 1;
            let answer = request(self.any_url()).timeout(ONE_TRY).send().await;
            let last = match understood(answer).await {
                Ok((status, body)) => return Ok(Reply { status, body, tries }),
                Err(Failed::ForGood(refused)) => return Err(refused),
                Err(Failed::ForNow(last)) => last,
            };
            if Instant::now() + pause > deadline {
                return Err(GaveUp::TimeIsUp { tries, last });
            }
            self.turn.fetch_add(1, Ordering::Relaxed);
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn any_url(&self) -> &str {
        let turn = self.turn.load(Ordering::Relaxed);
        self.urls.get(turn % self.urls.len().max(1)).map_or("", String::as_str)
    }
}

enum Failed {
    ForNow(String),
    ForGood(GaveUp),
}

async fn understood(answer: reqwest::Result<Response>) -> Result<(StatusCode, Value), Failed> {
    let for_now =
        |failure: reqwest::Error| Failed::ForNow(format!("{:?}", anyhow::Error::from(failure)));
    let answer = answer.map_err(for_now)?;
    let status = answer.status();
    let asked = answer.headers().get("x-should-retry").and_then(|value| value.to_str().ok());
    let may_retry = match asked {
        Some("true") => true,
        Some("false") => false,
        Some(_) | None => matches!(status.as_u16(), 408 | 409 | 429 | 500..),
    };
    let text = answer.text().await.map_err(for_now)?;
    if status.is_success() {
        let body = if text.is_empty() { Ok(Value::Null) } else { serde_json::from_str(&text) };
        return body.map(|body| (status, body)).map_err(|_| Failed::ForNow(text));
    }
    if may_retry {
        Err(Failed::ForNow(format!("{status}: {text}")))
    } else {
        Err(Failed::ForGood(GaveUp::Refused { status, body: text }))
    }
}
