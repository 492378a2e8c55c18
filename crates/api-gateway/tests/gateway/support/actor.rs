//! Those who call the gateway: nobody in particular, the administrator, the holder of a team's key.

use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use super::slow_reader::SlowReader;
use super::stream::OpenStream;

#[derive(Debug, Clone)]
pub struct Actor {
    client: Client,
    url: String,
    key: Option<String>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn body(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The body, if all went well.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.body()
    }

    #[track_caller]
    pub fn refused(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.body()
    }

    /// The message of an error under `/v1`.
    pub fn message(&self) -> String {
        self.body()["error"]["message"].as_str().unwrap_or_default().to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Actor {
    pub fn new(url: &str, key: Option<&str>) -> Self {
        let client = Client::builder().no_proxy().build().unwrap();
        Self { client, url: url.to_owned(), key: key.map(str::to_owned) }
    }

    /// The same one, who calls another gateway.
    pub fn at(&self, url: &str) -> Self {
        Self { url: url.to_owned(), ..self.clone() }
    }

    pub fn request(&self, method: &Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method.clone(), format!("{}{path}", self.url));
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        answer(self.request(&Method::GET, path)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        answer(self.request(&Method::DELETE, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        answer(self.request(&Method::POST, path).json(&body)).await
    }

    /// As the official client sends calls without a body.
    pub async fn post_nothing(&self, path: &str) -> Answer {
        let request = self.request(&Method::POST, path);
        answer(request.header("content-type", "application/json")).await
    }

    pub async fn post_once(&self, path: &str, key: &str, body: Value) -> Answer {
        answer(self.request(&Method::POST, path).header("idempotency-key", key).json(&body)).await
    }

    pub async fn stream(&self, path: &str) -> OpenStream {
        OpenStream::open(self.request(&Method::GET, path)).await
    }

    pub async fn slow_stream(&self, path: &str) -> SlowReader {
        SlowReader::open(&self.url, path, self.key.as_deref().unwrap()).await
    }

    pub async fn new_agent(&self) -> Value {
        self.post("/v1/agents", json!({"name": "n", "model": "demo"})).await.ok()
    }

    pub async fn new_session(&self) -> Value {
        let agent = self.new_agent().await;
        self.post("/v1/sessions", json!({"agent": agent["id"]})).await.ok()
    }

    pub async fn say(&self, session: &str, text: &str) -> Value {
        let event = json!({"type": "user.message", "content": text});
        let path = format!("/v1/sessions/{session}/events");
        self.post(&path, json!({"events": [event]})).await.ok()["data"][0].clone()
    }
}

pub async fn answer(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, text: response.text().await.unwrap() }
}
