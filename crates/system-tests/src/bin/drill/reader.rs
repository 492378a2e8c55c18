//! A client that follows one session's stream across every broken connection, and notes what it must not see.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use system_tests::{EventStream, PatientClient, Streamed};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::choices::Choices;

/// How long a browser waits before it comes back.
const COME_BACK_AFTER: Duration = Duration::from_millis(300);
/// What is in the log must show within this time once nothing is broken any more.
const CATCH_UP: Duration = Duration::from_secs(45);
/// Of the connections that nobody breaks, this many in a hundred are left by the reader itself.
const LEAVES: u32 = 60;

/// Where a session stands, as its reader sees it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standing {
    /// The number of the last event that was shown.
    pub(crate) last: i64,
    /// The ids of what users sent.
    pub(crate) heard: BTreeSet<String>,
    /// Turns that began and did not end.
    pub(crate) open: BTreeSet<String>,
}

/// Everything that one reader saw.
#[derive(Debug)]
pub(crate) struct Sight {
    /// In the order in which it was shown.
    pub(crate) events: Vec<Value>,
    /// What no reader may see, with the number of the event before which it was seen.
    pub(crate) faults: Vec<(i64, String)>,
    /// The longest time in which nothing was shown although a turn was open, and after which event.
    pub(crate) longest_gap: (Duration, i64),
    pub(crate) connections: u32,
    previews: BTreeMap<String, String>,
    finished: BTreeSet<String>,
    standing: Standing,
    shown_at: Instant,
}

impl Sight {
    pub(crate) fn new() -> Self {
        Self {
            events: Vec::new(),
            faults: Vec::new(),
            longest_gap: (Duration::ZERO, 0),
            connections: 0,
            previews: BTreeMap::new(),
            finished: BTreeSet::new(),
            standing: Standing::default(),
            shown_at: Instant::now(),
        }
    }

    fn take(&mut self, frame: Streamed, now: Instant) {
        let quiet = now.duration_since(self.shown_at);
        if !self.standing.open.is_empty() && quiet > self.longest_gap.0 {
            self.longest_gap = (quiet, self.standing.last);
        }
        self.shown_at = now;
        match frame.id {
            Some(number) => self.take_event(number, frame.data),
            None => self.take_preview(&frame),
        }
    }

    fn take_event(&mut self, number: i64, event: Value) {
        let last = self.standing.last;
        if number <= last {
            self.faults.push((number, format!("shown again, after {last}")));
            return;
        }
        if number > last + 1 {
            self.faults.push((number, format!("shown after {last}: those between were missed")));
        }
        self.standing.last = number;
        if event["seq"].as_i64() != Some(number) {
            self.faults.push((number, format!("its body says it is number {}", event["seq"])));
        }
        let id = event["id"].as_str().unwrap_or_default().to_owned();
        if let Some(preview) = self.previews.remove(&id)
            && !text(&event).starts_with(&preview)
        {
            let told = text(&event);
            self.faults.push((number, format!("its preview said {preview:?}, the event {told:?}")));
        }
        if event["type"].as_str().is_some_and(|kind| kind.starts_with("user.")) {
            self.standing.heard.insert(id.clone());
        }
        self.finished.insert(id);
        let turn = event["turn_id"].as_str().unwrap_or_default().to_owned();
        match event["type"].as_str() {
            Some("user.message") => {
                self.standing.open.insert(turn);
            }
            Some("session.status_idle") => {
                self.standing.open.remove(&turn);
            }
            Some(_) | None => {}
        }
        self.events.push(event);
    }

    fn take_preview(&mut self, frame: &Streamed) {
        let (id, begins) = match frame.name.as_str() {
            "event_start" => (&frame.data["event"]["id"], true),
            "event_delta" => (&frame.data["event_id"], false),
            _ => return,
        };
        let id = id.as_str().unwrap_or_default();
        let last = self.standing.last;
        if self.finished.contains(id) {
            self.faults.push((last, format!("a preview of {id} came after its event")));
        } else if begins {
            self.previews.insert(id.to_owned(), String::new());
        } else if let Some(text) = self.previews.get_mut(id) {
            text.push_str(frame.data["delta"]["content"]["text"].as_str().unwrap_or_default());
        } else {
            self.faults.push((last, format!("a preview of {id} came without its beginning")));
        }
    }
}

/// The text of an event's content.
pub(crate) fn text(event: &Value) -> String {
    let blocks = event["content"].as_array().map(Vec::as_slice).unwrap_or_default();
    blocks.iter().filter_map(|block| block["text"].as_str()).collect()
}

/// Reads until it is told the number of the log's last event and has seen that.
pub(crate) async fn read(
    client: PatientClient,
    session: String,
    mut choices: Choices,
    mut end: watch::Receiver<Option<i64>>,
    standing: watch::Sender<Standing>,
) -> Sight {
    let mut sight = Sight::new();
    let reading = async {
        loop {
            let patience = if choices.happens(LEAVES) {
                choices.milliseconds(500..=15_000)
            } else {
                Duration::from_hours(24)
            };
            if let Ok(stream) = client.stream(&session, sight.standing.last).await {
                sight.connections += 1;
                sight.previews.clear();
                follow(stream, &mut sight, &standing, Instant::now() + patience).await;
            }
            sleep(COME_BACK_AFTER).await;
        }
    };
    let mut seen = standing.subscribe();
    let ended = async {
        let Ok(Some(last)) = end.wait_for(Option::is_some).await.map(|last| *last) else { return };
        let reached = seen.wait_for(|standing| standing.last >= last);
        let _ = timeout(CATCH_UP, reached).await;
    };
    tokio::select! {
        () = reading => {}
        () = ended => {}
    }
    sight
}

async fn follow(
    mut stream: EventStream,
    sight: &mut Sight,
    standing: &watch::Sender<Standing>,
    until: Instant,
) {
    while let Ok(Ok(Some(frame))) = timeout_at(until, stream.next()).await {
        sight.take(frame, Instant::now());
        standing.send_if_modified(|known| {
            let is_new = known.last != sight.standing.last;
            if is_new {
                known.clone_from(&sight.standing);
            }
            is_new
        });
    }
}
