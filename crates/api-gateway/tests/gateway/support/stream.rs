//! An event stream as a client reads it.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use reqwest::RequestBuilder;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(15);

pub struct OpenStream {
    bytes: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
    text: String,
    comments: String,
}

/// One frame with data.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    pub id: Option<i64>,
    pub name: String,
    pub data: Value,
}

impl Frame {
    /// What it is about, in short: `agent.message 4`, `event_start`.
    pub fn short(&self) -> String {
        self.id.map_or_else(|| self.name.clone(), |id| format!("{} {id}", self.name))
    }
}

impl OpenStream {
    pub async fn open(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        Self {
            bytes: Box::pin(response.bytes_stream()),
            text: String::new(),
            comments: String::new(),
        }
    }

    /// The next frame with data; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                match parse(&block) {
                    Some(frame) => return Some(frame),
                    None => self.comments.push_str(&block),
                }
            }
            let chunk = tokio::time::timeout(PATIENCE, self.bytes.next()).await;
            let chunk = chunk.expect("a frame within the time").transpose().unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// What came between the frames.
    pub fn comments(&self) -> &str {
        &self.comments
    }

    pub async fn frame(&mut self) -> Frame {
        self.next().await.expect("a frame")
    }

    /// The next frames in short.
    pub async fn shorts(&mut self, count: usize) -> Vec<String> {
        let mut shorts = Vec::new();
        for _ in 0..count {
            shorts.push(self.frame().await.short());
        }
        shorts
    }
}

fn parse(block: &str) -> Option<Frame> {
    let field =
        |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    Some(Frame {
        id: field("id").map(|id| id.parse().unwrap()),
        name: field("event")?.to_owned(),
        data: serde_json::from_str(field("data")?).unwrap(),
    })
}
