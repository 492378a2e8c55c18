//! Consuming: bounded concurrency, three verdicts, and an orderly end.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Consumer};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::Broker;
use super::connection::LiveConnection;
use super::failure::{BrokerError, describe};
use super::outgoing::{Outgoing, ReplyTo, TRACEPARENT};
use crate::topology::Queue;

const FIRST_RETRY_AFTER: Duration = Duration::from_millis(100);
const LONGEST_RETRY_PAUSE: Duration = Duration::from_secs(5);
/// How long one delivery is tried again in this process before the message goes back to its queue. Each return counts against the
/// delivery limit, and a database that is away for some minutes must not cost a command.
const RETRIED_HERE: Duration = Duration::from_mins(1);
const RECONSUME_PAUSE: Duration = Duration::from_millis(500);

/// A message that came in.
#[derive(Debug, Clone)]
pub struct Incoming {
    pub exchange: String,
    pub routing_key: String,
    pub kind: String,
    /// Empty when the sender named none.
    pub message_id: String,
    pub body: Arc<[u8]>,
    /// How often the message was given out before, as far as its queue counts it.
    pub delivery_count: u64,
    /// Whether anybody waits for [`Verdict::Answer`].
    pub wants_answer: bool,
    pub traceparent: Option<String>,
}

/// What is to become of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Carried out, or not worth anything any more.
    Done,
    /// Carried out, with this to say to whoever asked.
    Answer(Vec<u8>),
    /// Cannot be carried out now, but later, unchanged: the database is away. Tried again after a short growing pause.
    Retry,
    /// Can never be carried out. Kept in the dead-letter queue for a person to look at.
    DeadLetter,
}

/// How many messages a consumer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consumption {
    /// Messages that the broker hands over before the first is settled.
    pub prefetch: u16,
    /// Messages that are carried out at the same time. 1 keeps their order.
    pub concurrency: usize,
}

impl Broker {
    /// Consumes a queue until `shutdown`, across any number of lost connections.
    ///
    /// At the end no further message is taken, those in hand are finished, and the rest goes back to the queue. A handler that
    /// panics counts as [`Verdict::Retry`]. A message may come twice: when the connection is lost before it could be settled.
    pub async fn consume<H, F>(
        &self,
        queue: Queue,
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
                live = self.live_after(after) => live,
            };
            let Some(live) = live else { return };
            match consume_queue(&live, queue.name(), consumption, &shutdown, &handler).await {
                Ok(Ended::Shutdown) => return,
                Ok(Ended::Lost) => {}
                Err(failure) => {
                    let reason = describe(&failure);
                    warn!(queue = queue.name(), reason, "the queue could not be consumed");
                }
            }
            // The connection may be alive, and only this consumer lost; the pause keeps that from becoming a hot loop.
            after = live.generation - 1;
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(RECONSUME_PAUSE) => {}
            }
        }
    }
}

/// Why a consumer came to its end.
pub(crate) enum Ended {
    Shutdown,
    Lost,
}

async fn consume_queue<H, F>(
    live: &Arc<LiveConnection>,
    queue: &str,
    consumption: Consumption,
    shutdown: &CancellationToken,
    handler: &Arc<H>,
) -> Result<Ended, BrokerError>
where
    H: Fn(Incoming) -> F + Send + Sync + 'static,
    F: Future<Output = Verdict> + Send,
{
    let channel = live.channel().await?;
    let consumer = start(&channel, queue, consumption).await?;
    debug!(queue, broker.generation = live.generation, "consuming");
    Ok(run(live, &channel, consumer, consumption, shutdown, handler).await)
}

pub(crate) async fn start(
    channel: &Channel,
    queue: &str,
    consumption: Consumption,
) -> Result<Consumer, BrokerError> {
    channel.basic_qos(consumption.prefetch, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    Ok(channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await?)
}

/// Takes messages until the shutdown or the loss of the consumer, then finishes what is in hand.
pub(crate) async fn run<H, F>(
    live: &Arc<LiveConnection>,
    channel: &Channel,
    mut consumer: Consumer,
    consumption: Consumption,
    shutdown: &CancellationToken,
    handler: &Arc<H>,
) -> Ended
where
    H: Fn(Incoming) -> F + Send + Sync + 'static,
    F: Future<Output = Verdict> + Send,
{
    let permits = Arc::new(Semaphore::new(consumption.concurrency));
    let mut in_hand = JoinSet::new();
    let ended = loop {
        let permit = tokio::select! {
            () = shutdown.cancelled() => break Ended::Shutdown,
            permit = permits.clone().acquire_owned() => permit,
        };
        let Ok(permit) = permit else { break Ended::Shutdown };
        let delivery = tokio::select! {
            () = shutdown.cancelled() => break Ended::Shutdown,
            delivery = consumer.next() => delivery,
        };
        let Some(Ok(delivery)) = delivery else { break Ended::Lost };
        while in_hand.try_join_next().is_some() {}
        let one =
            InHand { live: live.clone(), handler: handler.clone(), shutdown: shutdown.clone() };
        in_hand.spawn(async move { one.carry_out(delivery, permit).await });
    };
    let cancelled = channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await;
    if let (Err(failure), Ended::Shutdown) = (cancelled, &ended) {
        debug!(reason = describe(&failure), "the consumer could not be cancelled in order");
    }
    while in_hand.join_next().await.is_some() {}
    ended
}

struct InHand<H> {
    live: Arc<LiveConnection>,
    handler: Arc<H>,
    shutdown: CancellationToken,
}

impl<H, F> InHand<H>
where
    H: Fn(Incoming) -> F + Send + Sync + 'static,
    F: Future<Output = Verdict> + Send,
{
    async fn carry_out(self, mut delivery: Delivery, permit: tokio::sync::OwnedSemaphorePermit) {
        let reply = reply_to(&delivery);
        let incoming = incoming(&mut delivery, reply.is_some());
        let mut permit = Some(permit);
        let mut pause = FIRST_RETRY_AFTER;
        let give_back_at = Instant::now() + RETRIED_HERE;
        let verdict = loop {
            match self.handle(incoming.clone()).await {
                Verdict::Retry => {}
                verdict @ (Verdict::Done | Verdict::Answer(_) | Verdict::DeadLetter) => {
                    break verdict;
                }
            }
            // Whoever waits to try again does not keep others from being carried out.
            permit.take();
            if Instant::now() + pause > give_back_at {
                break Verdict::Retry;
            }
            tokio::select! {
                () = self.shutdown.cancelled() => break Verdict::Retry,
                () = tokio::time::sleep(pause) => {}
            }
            pause = LONGEST_RETRY_PAUSE.min(pause * 2);
        };
        if let Err(reason) = self.settle(&delivery, reply, verdict).await {
            debug!(reason, "the message could not be settled and will come again");
        }
    }

    async fn handle(&self, incoming: Incoming) -> Verdict {
        let handled = async { (self.handler)(incoming).await };
        AssertUnwindSafe(handled).catch_unwind().await.unwrap_or_else(|_panic| {
            error!("the handler of a message panicked");
            Verdict::Retry
        })
    }

    async fn settle(
        &self,
        delivery: &Delivery,
        reply: Option<ReplyTo>,
        verdict: Verdict,
    ) -> Result<(), String> {
        match verdict {
            Verdict::Done => acknowledge(delivery).await,
            Verdict::Answer(body) => {
                if let Some(reply) = reply {
                    let answer = Outgoing::answer(reply, body);
                    let sent = self.live.publish_unconfirmed(&answer).await;
                    sent.map_err(|failure| describe(&failure))?;
                }
                acknowledge(delivery).await
            }
            Verdict::Retry => give_back(delivery, true).await,
            Verdict::DeadLetter => {
                error!(
                    exchange = delivery.exchange.as_str(),
                    routing_key = delivery.routing_key.as_str(),
                    message.id = delivery.properties.message_id().as_ref().map(ShortString::as_str),
                    "a message can never be carried out and goes to the dead letters"
                );
                give_back(delivery, false).await
            }
        }
    }
}

async fn acknowledge(delivery: &Delivery) -> Result<(), String> {
    let acknowledged = delivery.acker.ack(BasicAckOptions::default()).await;
    acknowledged.map(drop).map_err(|failure| describe(&failure))
}

async fn give_back(delivery: &Delivery, requeue: bool) -> Result<(), String> {
    let given_back = delivery.acker.nack(BasicNackOptions { multiple: false, requeue }).await;
    given_back.map(drop).map_err(|failure| describe(&failure))
}

fn reply_to(delivery: &Delivery) -> Option<ReplyTo> {
    let queue = delivery.properties.reply_to().as_ref()?.to_string();
    let correlation_id =
        delivery.properties.correlation_id().as_ref().map(ToString::to_string).unwrap_or_default();
    Some(ReplyTo { queue, correlation_id })
}

fn incoming(delivery: &mut Delivery, wants_answer: bool) -> Incoming {
    let text =
        |value: &Option<ShortString>| value.as_ref().map(ToString::to_string).unwrap_or_default();
    let header = |name: &str| {
        delivery.properties.headers().as_ref().and_then(|headers| headers.inner().get(name))
    };
    Incoming {
        exchange: delivery.exchange.to_string(),
        routing_key: delivery.routing_key.to_string(),
        kind: text(delivery.properties.kind()),
        message_id: text(delivery.properties.message_id()),
        delivery_count: header("x-delivery-count")
            .and_then(AMQPValue::as_long_long_int)
            .and_then(|count| u64::try_from(count).ok())
            .unwrap_or_default(),
        wants_answer,
        traceparent: header(TRACEPARENT)
            .and_then(AMQPValue::as_long_string)
            .map(ToString::to_string),
        body: std::mem::take(&mut delivery.data).into(),
    }
}
