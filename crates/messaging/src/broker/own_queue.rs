//! A queue that belongs to one process: what it has bound is what it wants to hear.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use lapin::Channel;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use uuid::Uuid;

use super::connection::LiveConnection;
use super::consumer::{self, Consumption, Ended, Incoming, Verdict};
use super::failure::{BrokerError, describe};
use super::{ATTEMPT, Broker, RECONNECT_PATIENCE, declaration};

const REATTACH_PAUSE: Duration = Duration::from_millis(500);

/// An exclusive queue that vanishes with the connection and comes back, bound as before, with the next one.
///
/// What is published in between is lost: see [`OwnQueue::interruptions`]. Cheap to clone.
#[derive(Clone)]
pub struct OwnQueue {
    broker: Broker,
    prefix: Arc<str>,
    bindings: Arc<Mutex<Bindings>>,
    attachments: Arc<watch::Sender<u64>>,
}

#[derive(Default)]
struct Bindings {
    /// Exchange and routing key of everything that is to come into the queue.
    wanted: BTreeSet<(String, String)>,
    attached: Option<Attached>,
}

/// The queue as it exists on the current connection.
struct Attached {
    channel: Channel,
    queue: String,
}

impl Broker {
    /// A queue of this process alone. It exists while [`OwnQueue::consume`] runs.
    pub fn own_queue(&self, prefix: &str) -> OwnQueue {
        OwnQueue {
            broker: self.clone(),
            prefix: prefix.into(),
            bindings: Arc::default(),
            attachments: Arc::new(watch::Sender::new(0)),
        }
    }
}

impl OwnQueue {
    /// Binds the queue. Once this returns `Ok`, whatever is published with that key arrives.
    ///
    /// On failure the wish stays: the binding is made as soon as the broker is back. [`OwnQueue::unbind`] withdraws it.
    pub async fn bind(&self, exchange: &str, routing_key: &str) -> Result<(), BrokerError> {
        let binding = (exchange.to_owned(), routing_key.to_owned());
        self.bindings.lock().await.wanted.insert(binding);
        self.wait_until_attached().await?;
        let bind = async {
            let bindings = self.bindings.lock().await;
            let attached = bindings.attached.as_ref().ok_or_else(|| self.why_not_attached())?;
            declaration::bind(&attached.channel, &attached.queue, exchange, routing_key).await
        };
        let bound = tokio::time::timeout(ATTEMPT, bind).await;
        bound.unwrap_or_else(|_elapsed| Err(self.why_not_attached()))
    }

    /// Takes a binding back. What is in the queue already is still delivered.
    pub async fn unbind(&self, exchange: &str, routing_key: &str) {
        let mut bindings = self.bindings.lock().await;
        bindings.wanted.remove(&(exchange.to_owned(), routing_key.to_owned()));
        let Some(Attached { channel, queue }) = &bindings.attached else { return };
        let unbound = channel
            .queue_unbind(
                queue.as_str().into(),
                exchange.into(),
                routing_key.into(),
                FieldTable::default(),
            )
            .await;
        if let Err(failure) = unbound {
            debug!(reason = describe(&failure), "the binding ends with the connection instead");
        }
    }

    /// Counts how often the queue came to be. Each step above the first means that messages may have been missed.
    pub fn interruptions(&self) -> watch::Receiver<u64> {
        self.attachments.subscribe()
    }

    /// Consumes the queue until `shutdown`, as [`Broker::consume`] does.
    pub async fn consume<H, F>(
        &self,
        prefetch: u16,
        concurrency: usize,
        shutdown: CancellationToken,
        handler: H,
    ) where
        H: Fn(Incoming) -> F + Send + Sync + 'static,
        F: Future<Output = Verdict> + Send,
    {
        let handler = Arc::new(handler);
        let consumption = Consumption { prefetch, concurrency };
        let mut after = 0;
        loop {
            let live = tokio::select! {
                () = shutdown.cancelled() => return,
                live = self.broker.live_after(after) => live,
            };
            let Some(live) = live else { return };
            let consumed = self.consume_once(&live, consumption, &shutdown, &handler).await;
            self.bindings.lock().await.attached = None;
            match consumed {
                Ok(Ended::Shutdown) => return,
                Ok(Ended::Lost) => {}
                Err(failure) => {
                    let reason = describe(&failure);
                    warn!(queue = &*self.prefix, reason, "the own queue could not be consumed");
                }
            }
            after = live.generation - 1;
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(REATTACH_PAUSE) => {}
            }
        }
    }

    async fn consume_once<H, F>(
        &self,
        live: &Arc<LiveConnection>,
        consumption: Consumption,
        shutdown: &CancellationToken,
        handler: &Arc<H>,
    ) -> Result<Ended, BrokerError>
    where
        H: Fn(Incoming) -> F + Send + Sync + 'static,
        F: Future<Output = Verdict> + Send,
    {
        let channel = live.channel().await?;
        let queue = format!("{}.{}", self.prefix, Uuid::new_v4());
        let exclusive = QueueDeclareOptions::exclusive().auto_delete();
        channel.queue_declare(queue.as_str().into(), exclusive, FieldTable::default()).await?;
        let consumer = consumer::start(&channel, &queue, consumption).await?;
        self.attach(channel.clone(), queue).await?;
        Ok(consumer::run(live, &channel, consumer, consumption, shutdown, handler).await)
    }

    /// Makes every wanted binding. Holds the lock meanwhile, so that none is added or withdrawn unseen.
    async fn attach(&self, channel: Channel, queue: String) -> Result<(), BrokerError> {
        let mut bindings = self.bindings.lock().await;
        let all = bindings.wanted.iter();
        let all = all.map(|(exchange, key)| declaration::bind(&channel, &queue, exchange, key));
        futures::future::try_join_all(all).await?;
        bindings.attached = Some(Attached { channel, queue });
        self.attachments.send_modify(|count| *count += 1);
        Ok(())
    }

    async fn wait_until_attached(&self) -> Result<(), BrokerError> {
        let mut attachments = self.attachments.subscribe();
        let wait = async {
            while self.bindings.lock().await.attached.is_none() {
                if attachments.changed().await.is_err() {
                    break;
                }
            }
        };
        let attached = tokio::time::timeout(RECONNECT_PATIENCE, wait).await;
        attached.map_err(|_elapsed| self.why_not_attached())
    }

    fn why_not_attached(&self) -> BrokerError {
        let reason = || format!("the queue {} is not there", self.prefix);
        self.broker.check().err().unwrap_or_else(|| BrokerError::Unavailable { reason: reason() })
    }
}
