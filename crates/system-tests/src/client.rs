//! A plain HTTP client of the platform.

use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response};
use serde_json::{Value, json};

/// Nothing that a test waits for takes longer, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_mins(3);

/// Speaks with one key.
#[derive(Clone)]
pub struct Client {
    url: String,
    headers: HeaderMap,
    http: reqwest::Client,
}

impl Client {
    pub fn new(url: String, key: &str) -> anyhow::Result<Self> {
        let mut headers = HeaderMap::new();
        let mut authorization = HeaderValue::from_str(&format!("Bearer {key}"))?;
        authorization.set_sensitive(true);
        headers.insert(AUTHORIZATION, authorization);
        Self::with_headers(url, headers)
    }

    /// The same client, which sends one header more.
    pub fn with_header(&self, name: &'static str, value: &str) -> anyhow::Result<Self> {
        let mut headers = self.headers.clone();
        headers.insert(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(value)?);
        Self::with_headers(self.url.clone(), headers)
    }

    fn with_headers(url: String, headers: HeaderMap) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().default_headers(headers.clone()).build()?;
        Ok(Self { url, headers, http })
    }

    /// `host:port`, and the `Authorization` header, for requests that are written by hand.
    pub fn address_and_key(&self) -> anyhow::Result<(&str, &str)> {
        let address = self.url.strip_prefix("http://").context("no plain HTTP")?;
        let key = self.headers.get(AUTHORIZATION).context("no key")?;
        Ok((address.trim_end_matches('/'), key.to_str()?))
    }

    /// Sends a request and answers whatever came back.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Response> {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.json(body);
        }
        Ok(request.timeout(PATIENCE).send().await?)
    }

    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        accepted(self.send(Method::GET, path, None).await?).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        accepted(self.send(Method::POST, path, Some(body)).await?).await
    }

    pub async fn delete(&self, path: &str) -> anyhow::Result<Value> {
        accepted(self.send(Method::DELETE, path, None).await?).await
    }

    /// Creates an agent that uses the demo model; answers its id.
    pub async fn create_agent(&self) -> anyhow::Result<String> {
        let agent = self.post("/v1/agents", &json!({ "name": "coder", "model": "demo" })).await?;
        id_of(&agent)
    }

    /// Opens a session in the team's default environment; answers its id.
    pub async fn open_session(&self, agent: &str) -> anyhow::Result<String> {
        id_of(&self.post("/api/sessions", &json!({ "agent_id": agent })).await?)
    }

    /// Sends a user's message; answers the id of its event.
    pub async fn say(&self, session: &str, text: &str) -> anyhow::Result<String> {
        let content = json!([{ "type": "text", "text": text }]);
        let body = json!({ "events": [{ "type": "user.message", "content": content }] });
        let sent = self.post(&format!("/v1/sessions/{session}/events"), &body).await?;
        id_of(&sent["data"][0])
    }

    /// The whole log of a session.
    pub async fn log(&self, session: &str) -> anyhow::Result<Vec<Value>> {
        let page = self.get(&format!("/v1/sessions/{session}/events?limit=1000")).await?;
        Ok(page["data"].as_array().context("a page without data")?.clone())
    }

    /// The session's stream. `after` is the number of the last event that is known already; without it the stream is live.
    pub async fn stream(&self, session: &str, after: Option<i64>) -> anyhow::Result<EventStream> {
        let after = after.map(|number| format!("&after={number}")).unwrap_or_default();
        let path =
            format!("/v1/sessions/{session}/events/stream?event_deltas[]=agent.message{after}");
        let request = self.http.get(format!("{}{path}", self.url)).send().await?;
        let response = request.error_for_status()?;
        Ok(EventStream::of(response))
    }

    /// Reads the log's events after the first `known` ones until `wanted` idle events have come; across lost connections.
    pub async fn until_idle(
        &self,
        session: &str,
        known: usize,
        wanted: usize,
    ) -> anyhow::Result<Vec<Value>> {
        let known = i64::try_from(known)?;
        let mut seen: Vec<Value> = Vec::new();
        let reading = async {
            loop {
                let last = seen.last().and_then(|event| event["seq"].as_i64()).unwrap_or(known);
                if let Ok(mut stream) = self.stream(session, Some(last)).await {
                    while let Ok(Some(frame)) = stream.next().await {
                        if frame.id.is_none() {
                            continue;
                        }
                        seen.push(frame.data);
                        if count_idle(&seen) == wanted {
                            return;
                        }
                    }
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, reading).await;
        if in_time.is_err() {
            let types: Vec<_> = seen.iter().map(|event| &event["type"]).collect();
            bail!("session {session} did not get idle; seen so far: {types:?}");
        }
        Ok(seen)
    }

    /// Waits until the session's sandbox is ready.
    pub async fn until_ready(&self, session: &str) -> anyhow::Result<Value> {
        let waiting = async {
            loop {
                let shown = self.get(&format!("/v1/sessions/{session}")).await?;
                if shown["startup"]["phase"] == "ready" {
                    return Ok(shown);
                }
                if let Some(failure) = shown["startup"]["failure"].as_str() {
                    bail!("the start failed: {failure}");
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.context("the sandbox did not get ready")?
    }
}

fn count_idle(events: &[Value]) -> usize {
    events.iter().filter(|event| event["type"] == "session.status_idle").count()
}

pub(crate) fn id_of(object: &Value) -> anyhow::Result<String> {
    Ok(object["id"].as_str().with_context(|| format!("no id in {object}"))?.to_owned())
}

async fn accepted(response: Response) -> anyhow::Result<Value> {
    let status = response.status();
    let text = response.text().await?;
    if !status.is_success() {
        bail!("{status}: {text}");
    }
    if text.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_str(&text)?) }
}

/// One frame of a stream.
#[derive(Debug, Clone)]
pub struct Streamed {
    /// The event's number; previews have none.
    pub id: Option<i64>,
    pub name: String,
    pub data: Value,
}

/// The frames of one connection.
pub struct EventStream {
    response: Response,
    buffer: Vec<u8>,
}

impl EventStream {
    /// Reads the frames of an answer that was accepted.
    pub fn of(response: Response) -> Self {
        Self { response, buffer: Vec::new() }
    }

    /// The next frame with data; `None` when the stream has ended.
    pub async fn next(&mut self) -> anyhow::Result<Option<Streamed>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\n\n") {
                let frame: Vec<u8> = self.buffer.drain(..end + 2).collect();
                if let Some(streamed) = parse(std::str::from_utf8(&frame)?)? {
                    return Ok(Some(streamed));
                }
                continue;
            }
            match self.response.chunk().await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn parse(frame: &str) -> anyhow::Result<Option<Streamed>> {
    let mut streamed = Streamed { id: None, name: String::new(), data: Value::Null };
    for line in frame.lines() {
        if let Some(id) = line.strip_prefix("id: ") {
            streamed.id = Some(id.parse()?);
        } else if let Some(name) = line.strip_prefix("event: ") {
            name.clone_into(&mut streamed.name);
        } else if let Some(data) = line.strip_prefix("data: ") {
            streamed.data = serde_json::from_str(data)?;
        }
    }
    let is_empty = streamed.data.is_null() || streamed.name == "ping";
    Ok((!is_empty).then_some(streamed))
}
