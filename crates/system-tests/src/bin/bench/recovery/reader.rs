//! A reader who connects again at once, to whichever gateway answers, and knows what is new.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use system_tests::{Client, EventStream};
use tokio::time::{sleep, timeout};

use crate::words::Words;

/// Between two tries to connect.
const PAUSE: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_mins(2);

/// Something new was read.
pub struct Progress {
    pub at: Instant,
    /// It was the end of the turn.
    pub is_end: bool,
}

pub struct Reader {
    clients: Vec<Client>,
    session: String,
    stream: Option<EventStream>,
    words: Words,
    /// The number of the last event.
    known: i64,
    /// When the newest word left the model. What a new connection or a new event repeats is not newer.
    newest: f64,
}

impl Reader {
    pub async fn begin(clients: Vec<Client>, session: &str) -> anyhow::Result<Self> {
        let client = clients.first().context("no gateway")?;
        let last = format!("/v1/sessions/{session}/events?order=desc&limit=1");
        let known = client.get(&last).await?["data"][0]["seq"].as_i64().unwrap_or(0);
        let mut reader = Self {
            clients,
            session: session.to_owned(),
            stream: None,
            words: Words::default(),
            known,
            newest: 0.0,
        };
        reader.connect().await;
        Ok(reader)
    }

    pub async fn next_progress(&mut self) -> anyhow::Result<Progress> {
        timeout(PATIENCE, self.read()).await.context("nothing new came for minutes")?
    }

    /// Reads on until the turn has ended, as which it may.
    pub async fn until_end(&mut self) -> anyhow::Result<()> {
        while !self.next_progress().await?.is_end {}
        Ok(())
    }

    async fn read(&mut self) -> anyhow::Result<Progress> {
        loop {
            let Some(stream) = &mut self.stream else {
                self.connect().await;
                continue;
            };
            let Ok(Some(frame)) = stream.next().await else {
                self.stream = None;
                continue;
            };
            let at = Instant::now();
            if let Some(number) = frame.id {
                self.known = number;
            }
            match frame.name.as_str() {
                "session.status_idle" => {
                    let reason = frame.data["stop_reason"]["reason"].as_str().unwrap_or_default();
                    if !matches!(reason, "end_turn" | "interrupted") {
                        bail!("the turn ended as {reason}");
                    }
                    return Ok(Progress { at, is_end: true });
                }
                "event_delta" => {
                    let text = frame.data["delta"]["content"]["text"].as_str().unwrap_or_default();
                    let left_at = self.words.read(text);
                    if self.is_newer(&left_at) {
                        return Ok(Progress { at, is_end: false });
                    }
                }
                "agent.message" => {
                    let text = frame.data["content"][0]["text"].as_str().unwrap_or_default();
                    let left_at = Words::default().read(text);
                    if self.is_newer(&left_at) {
                        return Ok(Progress { at, is_end: false });
                    }
                }
                "event_start" => self.words = Words::default(),
                _ => {}
            }
        }
    }

    fn is_newer(&mut self, left_at: &[f64]) -> bool {
        let newest = left_at.iter().copied().fold(self.newest, f64::max);
        let is_newer = newest > self.newest;
        self.newest = newest;
        is_newer
    }

    /// Goes through the gateways until one has answered.
    async fn connect(&mut self) {
        loop {
            for client in &self.clients {
                if let Ok(stream) = client.stream(&self.session, Some(self.known)).await {
                    self.stream = Some(stream);
                    self.words = Words::default();
                    return;
                }
            }
            sleep(PAUSE).await;
        }
    }
}
