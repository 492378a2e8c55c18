//! One ear for the whole process: what the broker tells of sessions, passed on to whoever listens to them here.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use platform_core::id::SessionId;
use platform_messaging::proto::event::{EgressDecided, EventsCommitted, Preview};
use platform_messaging::topology::{EVENTS, PREVIEWS, kind};
use platform_messaging::{Broker, Incoming, OwnQueue, Verdict, decode};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use uuid::Uuid;

use super::backlog::{Backlog, FellBehind, Place};
use super::frame::{self, EventFrame};
use super::preview::{Part, PreviewKind, Previews};

/// Announcements that wait in this process; each may be as large as the events of one commit.
const PREFETCH: u16 = 32;

/// Something that a session's readers are told.
#[derive(Debug, Clone)]
pub enum Signal {
    Committed(Arc<EventFrame>),
    Preview(Arc<Part>),
    /// A frame about a decision of the way out.
    Egress(Bytes),
}

impl Signal {
    /// Bytes that it keeps in memory, roughly.
    fn size(&self) -> usize {
        const AROUND: usize = 256;
        AROUND
            + match self {
                Self::Committed(frame) => frame.bytes.len(),
                Self::Preview(part) => part.length(),
                Self::Egress(frame) => frame.len(),
            }
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    queue: OwnQueue,
    topics: Arc<Mutex<HashMap<SessionId, Listened>>>,
    runtime: Handle,
}

/// A session with listeners, or one whose bindings are just being taken back.
struct Listened {
    topic: Arc<Topic>,
    listeners: usize,
}

struct Topic {
    backlog: Backlog<Signal>,
    previews: Mutex<Previews>,
    /// How many listeners want to hear of the way out. While there are none its decisions crowd nothing out.
    egress_listeners: AtomicUsize,
    /// Held while bindings are made or taken back, so that the two never cross.
    binding: tokio::sync::Mutex<()>,
}

impl Hub {
    /// Belongs to the runtime that it is made on.
    pub fn new(broker: &Broker) -> Self {
        let queue = broker.own_queue("api-gateway");
        Self { queue, topics: Arc::default(), runtime: Handle::current() }
    }

    /// Listens until `shutdown`, across lost connections. One message at a time: their order is what readers see.
    pub async fn run(self, shutdown: CancellationToken) {
        let topics = self.topics.clone();
        let consumed = self.queue.consume(PREFETCH, 1, shutdown, move |incoming| {
            pass_on(&topics, &incoming);
            std::future::ready(Verdict::Done)
        });
        consumed.await;
    }

    /// Starts to listen to a session. What is committed after this returns is told; for what was committed before there is the log.
    ///
    /// While the broker is away nothing is told, and [`Subscription::interruptions`] says when to look into the log.
    pub async fn subscribe(&self, session: SessionId) -> Subscription {
        let (topic, place) = self.join(session);
        let subscription = Subscription {
            hub: self.clone(),
            session,
            topic: topic.clone(),
            place,
            hears_egress: false,
            interruptions: self.queue.interruptions(),
        };
        let _bound = topic.binding.lock().await;
        let key = session.uuid().to_string();
        for exchange in [EVENTS, PREVIEWS] {
            if let Err(failure) = self.queue.bind(exchange, &key).await {
                debug!(%failure, session.id = %session, "listening begins when the broker is back");
                break;
            }
        }
        subscription
    }

    fn join(&self, session: SessionId) -> (Arc<Topic>, Place) {
        let mut topics = lock(&self.topics);
        let listened = topics.entry(session).or_insert_with(|| Listened {
            topic: Arc::new(Topic {
                backlog: Backlog::default(),
                previews: Mutex::new(Previews::wanting(vec![
                    PreviewKind::Message,
                    PreviewKind::Thinking,
                ])),
                egress_listeners: AtomicUsize::new(0),
                binding: tokio::sync::Mutex::default(),
            }),
            listeners: 0,
        });
        listened.listeners += 1;
        (listened.topic.clone(), listened.topic.backlog.join())
    }

    fn leave(&self, session: SessionId) {
        let is_last = lock(&self.topics).get_mut(&session).is_some_and(|listened| {
            listened.listeners = listened.listeners.saturating_sub(1);
            listened.listeners == 0
        });
        if is_last {
            let hub = self.clone();
            self.runtime.spawn(async move { hub.forget(session).await });
        }
    }

    /// Takes the bindings back, unless somebody came to listen meanwhile.
    async fn forget(&self, session: SessionId) {
        let topic = lock(&self.topics).get(&session).map(|listened| listened.topic.clone());
        let Some(topic) = topic else { return };
        let _unbinding = topic.binding.lock().await;
        let is_unheard =
            || lock(&self.topics).get(&session).is_some_and(|listened| listened.listeners == 0);
        if !is_unheard() {
            return;
        }
        let key = session.uuid().to_string();
        for exchange in [EVENTS, PREVIEWS] {
            self.queue.unbind(exchange, &key).await;
        }
        let mut topics = lock(&self.topics);
        if topics.get(&session).is_some_and(|listened| listened.listeners == 0) {
            topics.remove(&session);
        }
    }
}

/// Somebody's ear on one session.
pub struct Subscription {
    hub: Hub,
    session: SessionId,
    topic: Arc<Topic>,
    place: Place,
    hears_egress: bool,
    interruptions: watch::Receiver<u64>,
}

impl Subscription {
    /// The previews that are open now, of the kinds wanted.
    ///
    /// Signals from before are dropped, because the previews contain them already. The log has the events among them.
    pub fn previews(&mut self, wanted: Vec<PreviewKind>) -> Previews {
        let previews = lock(&self.topic.previews);
        self.topic.backlog.skip(&mut self.place);
        previews.join(wanted)
    }

    /// Has decisions of the way out told from now on, at least to this listener.
    pub fn hear_egress(&mut self) {
        if !std::mem::replace(&mut self.hears_egress, true) {
            self.topic.egress_listeners.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn hears_egress(&self) -> bool {
        self.hears_egress
    }

    /// The next signal.
    pub async fn next(&mut self) -> Result<Signal, FellBehind> {
        self.topic.backlog.next(&mut self.place).await
    }

    /// The next signal, if it is there already.
    pub fn take(&mut self) -> Result<Option<Signal>, FellBehind> {
        self.topic.backlog.take(&mut self.place)
    }

    /// Whether signals were lost to it.
    pub fn fell_behind(&self) -> bool {
        self.topic.backlog.is_behind(&self.place)
    }

    /// Whether everything so far was taken.
    pub fn is_up_to_date(&self) -> bool {
        self.topic.backlog.is_taken(&self.place)
    }

    /// Goes on with what comes from now on, after having fallen behind. The log has the events that were missed.
    pub fn skip(&mut self) {
        self.topic.backlog.skip(&mut self.place);
    }

    /// Waits until something was committed, or may have been.
    pub async fn committed(&mut self) {
        loop {
            match self.next().await {
                Ok(Signal::Preview(_) | Signal::Egress(_)) => {}
                Ok(Signal::Committed(_)) => return,
                Err(FellBehind) => return self.skip(),
            }
        }
    }

    /// Changes whenever something may have been missed.
    pub fn interruptions(&self) -> watch::Receiver<u64> {
        self.interruptions.clone()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if self.hears_egress {
            self.topic.egress_listeners.fetch_sub(1, Ordering::Relaxed);
        }
        self.topic.backlog.leave(&self.place);
        self.hub.leave(self.session);
    }
}

fn pass_on(topics: &Mutex<HashMap<SessionId, Listened>>, incoming: &Incoming) {
    let Ok(uuid) = Uuid::try_parse(&incoming.routing_key) else { return };
    let session = SessionId::from_uuid(uuid);
    let topic = lock(topics).get(&session).map(|listened| listened.topic.clone());
    let Some(topic) = topic else { return };
    let passed = match incoming.exchange.as_str() {
        PREVIEWS if incoming.kind == kind::EGRESS_DECISION => {
            decode::<EgressDecided>(&incoming.body).map(|decided| topic.egress(&decided))
        }
        PREVIEWS => decode::<Preview>(&incoming.body).map(|preview| topic.preview(preview)),
        _ => decode::<EventsCommitted>(&incoming.body).map(|committed| topic.commit(committed)),
    };
    if let Err(failure) = passed {
        warn!(%failure, session.id = %session, "an announcement cannot be read");
    }
}

impl Topic {
    fn commit(&self, committed: EventsCommitted) {
        for event in committed.events {
            match EventFrame::from_json(event.number, &event.body) {
                Ok(frame) => {
                    let mut previews = lock(&self.previews);
                    previews.committed(&frame);
                    self.tell(Signal::Committed(Arc::new(frame)));
                }
                // Its number is missed, so that readers find it in the log.
                Err(failure) => warn!(%failure, "an announced event cannot be read"),
            }
        }
    }

    fn preview(&self, preview: Preview) {
        let Some(part) = Part::from_message(preview) else { return };
        let mut previews = lock(&self.previews);
        previews.take(&part);
        self.tell(Signal::Preview(Arc::new(part)));
    }

    fn egress(&self, decided: &EgressDecided) {
        if self.egress_listeners.load(Ordering::Relaxed) == 0 {
            return;
        }
        match frame::egress(&decided.decision) {
            Ok(frame) => self.tell(Signal::Egress(frame)),
            Err(failure) => warn!(%failure, "a decision of the way out cannot be read"),
        }
    }

    fn tell(&self, signal: Signal) {
        let bytes = signal.size();
        self.backlog.push(signal, bytes);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
